//! Keeps what is live on the board while somebody looks: the minutes that no checkpoint has committed yet, and the job's
//! counters. It waits for no table: an event is on its way to the screen at once, however slow or broken a store is.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use thalweg_serving::http::{Board, Edit};
use tokio::sync::watch;

use super::counts::lock;
use super::feed::pause;
use super::pipeline::{self, Observed};
use super::tap::Open;

/// How often to look at the open minutes.
pub(super) const EVERY: Duration = Duration::from_millis(200);

/// A page whose connection broke is back by then, and finds its minutes counted on.
const GRACE: Duration = Duration::from_secs(10);

/// Start of the newest committed minute on the board, ms. It changes together with the board, under the board's lock: no
/// minute is taken for an open one once its committed rows are shown.
pub(super) type Committed = Mutex<Option<i64>>;

/// Puts what is live on the board for ever.
pub(super) async fn keep(board: &Board, job: &Observed, committed: &Committed) {
    let mut readers = board.readers();
    let mut shown = Shown::default();
    let mut put = || {
        board.update(|edit| {
            let committed = *lock(committed);
            let open = job.tap().map(|tap| tap.open(committed)).unwrap_or_default();
            shown.put(edit, open, committed);
            pipeline::put_job(edit, job);
        });
    };
    while readers.wait_for(|readers| *readers > 0).await.is_ok() {
        job.watch(true);
        loop {
            put();
            pause(&mut readers, EVERY).await;
            let nobody = *readers.borrow_and_update() == 0;
            if nobody && !is_back_within(&mut readers, GRACE).await {
                break;
            }
        }
        job.watch(false);
        // Nothing is counted any more: whoever looks next finds no minute that stands still.
        put();
    }
}

async fn is_back_within(readers: &mut watch::Receiver<usize>, grace: Duration) -> bool {
    let back = readers.wait_for(|readers| *readers > 0);
    tokio::time::timeout(grace, back).await.is_ok_and(|back| back.is_ok())
}

/// Provisional rows on the board: section and key, with the start of their minutes (ms).
#[derive(Debug, Default)]
struct Shown(BTreeMap<(&'static str, String), i64>);

impl Shown {
    /// Puts the open minutes on the board. Rows that are gone without having been committed go: the job began anew, or
    /// minutes came up that lie nearer.
    fn put(&mut self, edit: &mut Edit<'_>, open: Open, committed: Option<i64>) {
        let before = std::mem::take(&mut self.0);
        for (section, rows) in open.sections() {
            for row in rows {
                let key = row.key();
                edit.put(section, key.as_str(), &row);
                self.0.insert((section, key), row.t);
            }
        }
        for ((section, key), t) in before {
            // What is committed has other rows under these keys, or clients forget them on their own.
            let was_open = committed.is_none_or(|committed| t > committed);
            if was_open && !self.0.contains_key(&(section, key.clone())) {
                edit.withdraw(section, &key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::Row;
    use super::*;

    fn open(minutes: &[i64]) -> Open {
        let row = |minute: &i64| Row {
            t: minute * 60_000,
            w: 60_000,
            k: None,
            n: 1,
            p: 1,
            vitals: None,
            live: true,
        };
        Open { kpis: minutes.iter().map(row).collect(), ..Open::default() }
    }

    #[test]
    fn what_is_open_no_more_goes_unless_it_was_committed() {
        let (board, mut shown) = (Board::default(), Shown::default());
        board.update(|edit| shown.put(edit, open(&[1, 2, 9]), None));
        let known = board.position();
        let told = |since| board.message(since, &["kpis"]).0;
        // The first is committed: clients know what becomes of it.
        board.update(|edit| shown.put(edit, open(&[2, 9]), Some(60_000)));
        assert!(told(Some(known)).contains(r#""reset":false"#), "{}", told(Some(known)));
        // The last is gone, and would be shown for as long as it lies ahead.
        board.update(|edit| shown.put(edit, open(&[2]), Some(60_000)));
        let text = told(Some(known));
        assert!(text.contains(r#""reset":true"#) && text.contains(r#""t":120000"#), "{text}");
        assert!(!text.contains(r#""t":540000"#), "{text}");
    }
}
