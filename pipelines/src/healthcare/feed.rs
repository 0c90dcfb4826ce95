//! Sends the events of a simulated hospital at a steady rate, on a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use thalweg_connectors::kafka::TopicWriter;
use thalweg_core::time::Clock;
use thalweg_core::{Error, Result, error};

use super::hospital::Hospital;

/// How often events that are due are sent.
const TICK: Duration = Duration::from_millis(10);

/// What was not sent for longer than this is not made up for: a broker that was away meets no flood.
const LONGEST_GAP: Duration = Duration::from_secs(1);

/// How a feed sends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeedSettings {
    /// Events per second.
    pub rate: f64,
    /// How many events; without end when `None`.
    pub events: Option<u64>,
    /// Whether messages carry the simulated time as their own, for a simulation that runs faster than the clock.
    pub simulated_timestamps: bool,
}

/// A running feed. Dropped, it stops soon, and nobody learns how it went; [`Feed::stop`] waits and says so.
#[derive(Debug)]
pub struct Feed {
    /// Never sent on: the thread ends when it is dropped.
    running: Option<SyncSender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
    writer: Arc<TopicWriter>,
    sent: Arc<AtomicU64>,
}

impl Feed {
    /// Starts to send. `failed` hears at once, and once, of what ends the sending before anybody asks it to stop; it is
    /// called on the feed's thread. No value of an event is in such an error.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] for a rate that is no rate,
    /// [`thalweg_core::ErrorKind::Transient`] when there is no thread to be had.
    pub fn start(
        hospital: Hospital,
        writer: TopicWriter,
        settings: FeedSettings,
        clock: Arc<dyn Clock>,
        failed: impl FnOnce(&Error) + Send + 'static,
    ) -> Result<Self> {
        if !(settings.rate.is_finite() && settings.rate > 0.0) {
            return Err(Error::config("the rate must be more than 0 events per second"));
        }
        let (running, stopped) = sync_channel(0);
        let sent = Arc::new(AtomicU64::new(0));
        let writer = Arc::new(writer);
        let pump = Pump {
            hospital,
            writer: Arc::clone(&writer),
            settings,
            clock,
            sent: Arc::clone(&sent),
        };
        let thread = std::thread::Builder::new()
            .name("hospital".to_owned())
            .spawn(move || {
                let ended = pump.run(&stopped);
                // Whoever asked it to stop is told by the result.
                if let Err(error) = &ended
                    && stopped.try_recv() == Err(TryRecvError::Empty)
                {
                    failed(error);
                }
                ended
            })
            .map_err(|e| error::io("start a thread", e))?;
        Ok(Self { running: Some(running), thread: Some(thread), writer, sent })
    }

    /// Events sent so far, acknowledged or not.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Events that the brokers have acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.writer.delivered()
    }

    /// Whether everything has been sent, or sending failed.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops, waits for acknowledgements as long as they come, `patience` at most for the next ones, and tells how many events
    /// were sent.
    ///
    /// # Errors
    /// What went wrong while sending, and [`thalweg_core::ErrorKind::Transient`] when acknowledgements are missing.
    pub fn stop(&mut self, patience: Duration) -> Result<u64> {
        self.running.take();
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| Error::internal("the simulated hospital panicked"))??;
        }
        loop {
            let before = self.acknowledged();
            let flushed = self.writer.flush(patience);
            if flushed.is_ok() || self.acknowledged() == before {
                return flushed.map(|()| self.sent());
            }
        }
    }
}

struct Pump {
    hospital: Hospital,
    writer: Arc<TopicWriter>,
    settings: FeedSettings,
    clock: Arc<dyn Clock>,
    sent: Arc<AtomicU64>,
}

impl Pump {
    /// Until all has been acknowledged, or somebody asks for an end, who waits for acknowledgements as long as they want to.
    fn run(mut self, stopped: &Receiver<()>) -> Result<()> {
        let mut schedule = Schedule::new(self.settings.rate, self.clock.monotonic());
        let mut left = self.settings.events.unwrap_or(u64::MAX);
        while left > 0 || self.writer.waiting() > 0 {
            let due = schedule.due(self.clock.monotonic()).min(left);
            self.send(due, stopped)?;
            left -= due;
            if stopped.recv_timeout(TICK) != Err(RecvTimeoutError::Timeout) {
                return Ok(());
            }
        }
        // Nothing is waited for any more: it says what failed.
        self.writer.flush(TICK)
    }

    /// Neither many events nor a queue that brokers do not empty keep anybody from asking for an end.
    fn send(&mut self, events: u64, stopped: &Receiver<()>) -> Result<()> {
        for _ in 0..events {
            let Some(event) = self.hospital.next() else { break };
            let timestamp = self.settings.simulated_timestamps.then_some(event.sent_at / 1_000);
            let (key, payload) = (event.key.as_bytes(), event.payload.as_slice());
            loop {
                if stopped.try_recv() != Err(TryRecvError::Empty) {
                    return Ok(());
                }
                if self.writer.offer(Some(key), Some(payload), timestamp)? {
                    break;
                }
            }
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// How many events are due when.
#[derive(Debug)]
struct Schedule {
    rate: f64,
    /// When the count began.
    start: Duration,
    given: u64,
}

impl Schedule {
    fn new(rate: f64, start: Duration) -> Self {
        Self { rate, start, given: 0 }
    }

    /// Events that have become due since this was last asked.
    fn due(&mut self, now: Duration) -> u64 {
        let expected = (now.saturating_sub(self.start).as_secs_f64() * self.rate) as u64;
        let due = expected.saturating_sub(self.given);
        let most = (LONGEST_GAP.as_secs_f64() * self.rate).ceil() as u64;
        if due > most {
            self.start = now;
            self.given = 0;
            return most;
        }
        self.given += due;
        due
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::mpsc::channel;

    use thalweg_core::ErrorKind;
    use thalweg_runtime::SystemClock;

    use super::*;
    use crate::healthcare::hospital::HospitalSettings;

    /// Longer than any of this takes on the busiest machine.
    const PATIENCE: Duration = Duration::from_mins(1);

    /// A feed to a broker that is not there, and what it says by itself.
    fn unheard(events: Option<u64>, properties: [(&str, String); 2]) -> (Feed, Receiver<String>) {
        let properties: BTreeMap<_, _> =
            properties.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let writer = TopicWriter::new("127.0.0.1:1", "events", &properties).unwrap();
        let settings = FeedSettings { rate: 1_000.0, events, simulated_timestamps: false };
        let hospital = Hospital::new(HospitalSettings::default());
        let clock = Arc::new(SystemClock::default());
        let (tell, told) = channel();
        let failed = move |error: &Error| tell.send(error.to_string()).unwrap();
        (Feed::start(hospital, writer, settings, clock, failed).unwrap(), told)
    }

    /// Settings by which the broker is given up after `timeout_ms`, and so many events may wait for it.
    fn patience(timeout_ms: u64, queue: u64) -> [(&'static str, String); 2] {
        [
            ("message.timeout.ms", timeout_ms.to_string()),
            ("queue.buffering.max.messages", queue.to_string()),
        ]
    }

    #[test]
    fn a_feed_that_cannot_send_says_so_once_and_before_it_is_asked() {
        // Without end, and where all has been sent and only the acknowledgements are missing.
        for events in [None, Some(5)] {
            let (mut feed, told) = unheard(events, patience(300, 200_000));
            let said = told.recv_timeout(Duration::from_mins(1)).unwrap();
            assert!(said.contains("could not be delivered to topic `events`"), "{said}");
            let error = feed.stop(PATIENCE).unwrap_err();
            assert_eq!((error.kind(), error.to_string()), (ErrorKind::Transient, said));
            assert!(told.recv().is_err(), "it is said once");
        }
    }

    #[test]
    fn a_feed_that_is_asked_to_stop_says_what_went_wrong_to_whoever_asks() {
        // A machine that comes to ask only when it has gone wrong gets more time for it.
        let asked_in_time = [3_000, 9_000, 27_000].into_iter().any(|timeout_ms| {
            let (mut feed, told) = unheard(None, patience(timeout_ms, 200_000));
            while feed.sent() == 0 && !feed.is_finished() {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            assert_eq!(feed.stop(PATIENCE).unwrap_err().kind(), ErrorKind::Transient);
            told.recv().is_err()
        });
        assert!(asked_in_time, "somebody else is told");
    }

    #[test]
    fn a_feed_whose_queue_is_full_or_that_waits_for_acknowledgements_stops_when_it_is_asked() {
        // Far longer than this may take.
        let away = Duration::from_hours(1);
        let clock = SystemClock::default();
        for events in [None, Some(10)] {
            let (mut feed, _told) = unheard(events, patience(away.as_millis() as u64, 10));
            while feed.sent() < 10 {
                assert!(!feed.is_finished());
                std::thread::park_timeout(Duration::from_millis(1));
            }
            let begun = clock.monotonic();
            let error = feed.stop(Duration::from_millis(50)).unwrap_err();
            assert!(error.to_string().contains("not acknowledged by kafka at"), "{error}");
            assert_eq!((feed.sent(), feed.acknowledged()), (10, 0));
            assert!(clock.monotonic().saturating_sub(begun) < PATIENCE);
        }
    }

    #[test]
    fn events_fall_due_at_the_rate_however_often_it_is_asked() {
        for ticks in [1u32, 7, 100] {
            let mut schedule = Schedule::new(1_234.5, Duration::from_secs(5));
            let total: u64 = (1..=ticks)
                .map(|t| schedule.due(Duration::from_secs(5) + Duration::from_secs(1) * t / ticks))
                .sum();
            assert_eq!(total, 1_234);
        }
    }

    #[test]
    fn a_slow_rate_is_kept_too() {
        let mut schedule = Schedule::new(0.5, Duration::ZERO);
        let due: Vec<u64> = (1..=8).map(|s| schedule.due(Duration::from_secs(s))).collect();
        assert_eq!(due, [0, 1, 0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn a_long_gap_is_not_made_up_for() {
        let mut schedule = Schedule::new(100.0, Duration::ZERO);
        assert_eq!(schedule.due(Duration::from_mins(1)), 100);
        assert_eq!(schedule.due(Duration::from_millis(60_010)), 1);
    }
}
