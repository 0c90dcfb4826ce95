//! How often librdkafka has sent what ends a transaction: a request that is sent again may have left its first copy in
//! the network, and the broker cannot tell whose end it is when it arrives.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;

/// Makes the library report.
pub(super) const REPORTS: (&str, &str) = ("statistics.interval.ms", "50");

/// Reports are waited for so often, for so long each time: a process that was held up has used up one look, not all.
const LOOKS: u32 = 30;
const LOOK: Duration = Duration::from_millis(100);

/// What the library has reported so far.
#[derive(Debug, Default)]
pub(super) struct Requests {
    newest: Mutex<Newest>,
    came: Condvar,
}

#[derive(Debug, Default)]
struct Newest {
    number: u64,
    sent: i64,
}

/// The part of a report that is read.
#[derive(Deserialize)]
struct Report {
    brokers: HashMap<String, Broker>,
}

#[derive(Deserialize)]
struct Broker {
    req: Sent,
}

/// What, when it arrives late, ends a later transaction of the same producer, or moves the marker in it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Sent {
    #[serde(rename = "EndTxn")]
    ends: i64,
    #[serde(rename = "TxnOffsetCommit")]
    markers: i64,
}

impl Requests {
    /// Takes note of a report. One that cannot be read is none.
    pub(super) fn reported(&self, json: &[u8]) {
        let Ok(report) = serde_json::from_slice::<Report>(json) else { return };
        let sum = |of: fn(&Sent) -> i64| report.brokers.values().map(|b| of(&b.req)).sum::<i64>();
        let sent = sum(|sent| sent.ends).max(sum(|sent| sent.markers));
        let mut newest = self.lock();
        *newest = Newest { number: newest.number + 1, sent };
        drop(newest);
        self.came.notify_all();
    }

    /// The number of the newest report.
    pub(super) fn newest(&self) -> u64 {
        self.lock().number
    }

    /// How often ends, or markers where they are more, had been sent at a time after report `number`; `None` if the
    /// library does not report. Blocking.
    pub(super) fn sent_after(&self, number: u64) -> Option<i64> {
        for _ in 0..LOOKS {
            // The next one may have been under way.
            let early = |newest: &mut Newest| newest.number < number + 2;
            let waited = self.came.wait_timeout_while(self.lock(), LOOK, early);
            let (newest, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            if !waited.timed_out() {
                return Some(newest.sent);
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_markers_are_counted_over_all_brokers_once_two_reports_have_come() {
        let requests = Requests::default();
        let report = |a: &str, b: &str| {
            let json = format!(
                r#"{{"name":"x","brokers":{{"a:1/1":{{"req":{{{a}}},"tx":7}},"b":{{"req":{{{b}}}}}}},"topics":{{}}}}"#
            );
            requests.reported(json.as_bytes());
        };
        report(r#""EndTxn":1,"Produce":9"#, "");
        let seen = requests.newest();
        assert_eq!(seen, 1);
        requests.reported(b"{");
        assert_eq!(requests.newest(), 1);
        report(r#""EndTxn":1"#, r#""EndTxn":1,"TxnOffsetCommit":1"#);
        assert_eq!(requests.sent_after(0), Some(2));
        assert_eq!(requests.sent_after(seen), None, "the only one since may have been under way");
        report(r#""EndTxn":2"#, r#""TxnOffsetCommit":3"#);
        assert_eq!(requests.sent_after(seen), Some(3));
    }
}
