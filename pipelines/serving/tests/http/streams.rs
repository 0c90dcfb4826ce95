//! What a slow client costs, and many of them.

use std::io::{BufRead, Read};
use std::time::{Duration, Instant};

use thalweg_serving::http::{Journal, LIVE, Limits, STATE, Visitor};

use crate::site::{BEARER, CLIENTS, PATIENCE, Site, read_until, seen, visitor};

#[test]
fn a_slow_client_gets_the_latest_and_not_what_it_missed() {
    const UPDATES: usize = 20_000;
    let site = Site::start();
    // Rows are large enough that the kernel's buffers hold but a few messages.
    let filler = "x".repeat(10_000);
    let put = |value: usize| {
        site.board.update(|edit| edit.put("seen", "row", &(value, &filler)));
    };
    let mut slow = site.listen("");
    for value in 0..=UPDATES {
        put(value);
    }
    let last = format!("[{UPDATES},");
    let messages = read_until(&mut slow, |data| data.contains(&last));
    assert!(messages < UPDATES / 4, "{messages} messages were queued for it");
}

#[test]
fn two_hundred_clients_hear_of_a_change_and_each_one_once() {
    let site = Site::start();
    site.put("seen", 1);
    let mut clients: Vec<_> = (0..CLIENTS).map(|n| site.listen_as_link(n)).collect();
    for client in &mut clients {
        assert_eq!(read_until(client, seen(1)), 1);
    }
    assert_eq!(*site.board.readers().borrow(), CLIENTS);
    site.put("seen", 2);
    for client in &mut clients {
        assert_eq!(read_until(client, seen(2)), 1);
    }
    drop(clients);
    // A vanished client is noticed when something is written to it, at the latest.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let gone = runtime.block_on(async {
        let mut readers = site.board.readers();
        for value in 3..1_800 {
            site.put("seen", value);
            let none = readers.wait_for(|readers| *readers == 0);
            if tokio::time::timeout(Duration::from_millis(100), none).await.is_ok() {
                return true;
            }
        }
        false
    });
    assert!(gone, "{} are still counted", *site.board.readers().borrow());
}

/// Bytes of this process in memory, where the system tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

#[test]
fn of_two_hundred_clients_those_that_never_read_cost_little_and_delay_nobody() {
    const SILENT: usize = 50;
    const ROUNDS: usize = 20;
    const UPDATES: usize = 50;
    const ROW: usize = 10_000;
    // Nobody is hung up on: whoever waited for those that never read would wait for an hour.
    let limits = Limits { stalled: Duration::from_hours(1), ..Limits::default() };
    let site = Site::start_with(Journal::default(), limits);
    let filler = "x".repeat(ROW);
    let put = |value: usize| {
        site.board.update(|edit| edit.put("seen", "row", &(value, &filler)));
    };
    put(0);
    let silent: Vec<_> = (0..SILENT).map(|n| site.listen_as_link(n)).collect();
    let mut reading: Vec<_> = (SILENT..CLIENTS).map(|n| site.listen_as_link(n)).collect();
    for client in &mut reading {
        read_until(client, |data| data.contains("[0,"));
    }
    assert!(are_reading(&site, CLIENTS), "{} are reading", *site.board.readers().borrow());
    let before = resident();
    let mut slowest = Duration::ZERO;
    for round in 1..=ROUNDS {
        let changed = Instant::now();
        for update in 1..=UPDATES {
            put((round - 1) * UPDATES + update);
        }
        let newest = format!("[{},", round * UPDATES);
        for client in &mut reading {
            read_until(client, |data| data.contains(&newest));
        }
        slowest = slowest.max(changed.elapsed());
    }
    assert!(slowest < Duration::from_secs(30), "a change took {slowest:?} to reach all");
    assert_eq!(*site.board.readers().borrow(), CLIENTS);
    // A queue for each that does not read would hold all that it missed. Other tests run beside this one: half of that
    // leaves them room.
    let queues = (SILENT * ROUNDS * UPDATES * ROW) as u64;
    if let Some((before, now)) = before.zip(resident()) {
        let grown = now.saturating_sub(before);
        assert!(grown < queues / 2, "{grown} bytes more, queues would be {queues}");
    }
    drop(silent);
}

/// Whether as many are reading, sooner or later.
fn are_reading(site: &Site, wanted: usize) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut readers = site.board.readers();
        let so_many = readers.wait_for(|readers| *readers == wanted);
        tokio::time::timeout(PATIENCE, so_many).await.is_ok()
    })
}

#[test]
fn who_takes_nothing_is_hung_up_on_and_who_reads_is_not() {
    let limits = Limits { stalled: Duration::from_secs(1), ..Limits::default() };
    let site = Site::start_with(Journal::default(), limits);
    site.put("seen", 0);
    // More than the buffers of both ends hold. Who reads gets none of it: this thread may be stopped for a second, too.
    let filler = "x".repeat(8 << 20);
    site.board.update(|edit| edit.put("hidden", "row", &(0, &filler)));
    let (mut reading, _) = site.listen_with_cookie(visitor());
    assert_eq!(read_until(&mut reading, seen(0)), 1);
    let (mut deaf, _) = site.listen_with_cookie(Visitor::new("deaf", "clinician", |_| true));
    let mut status = String::new();
    deaf.read_line(&mut status).unwrap();
    assert!(status.contains("200"), "{status}");
    assert!(are_reading(&site, 1), "it keeps its place");
    site.put("seen", 1);
    read_until(&mut reading, seen(1));
    drop(deaf);
}

#[test]
fn a_visitor_with_many_dashboards_open_keeps_nobody_else_out() {
    let site = Site::start();
    site.put("seen", 1);
    let own: Vec<_> = (0..32).map(|_| site.listen("")).collect();
    let refused = site.ask(&format!("GET {LIVE}\r\n{BEARER}"));
    assert_eq!(refused.status, 429);
    assert!(refused.body.contains("close some"), "{}", refused.body);
    assert_eq!(read_until(&mut site.listen_as_link(1), seen(1)), 1);
    drop(own);
}

#[test]
fn a_client_hears_what_time_it_is_here_though_nothing_changes() {
    let site = Site::start();
    site.put("seen", 1);
    let mut client = site.listen("");
    assert_eq!(read_until(&mut client, seen(1)), 1);
    let mut next = || {
        let mut lines = client.by_ref().lines().map(Result::unwrap);
        lines.find(|line| line.starts_with("event:") || line.starts_with("data:")).unwrap()
    };
    // The clock of this server stands still.
    assert_eq!((next().as_str(), next().as_str()), ("event: time", "data: 0"));
}

#[test]
fn a_client_hears_that_the_tables_cannot_be_read_and_a_first_look_is_refused_meanwhile() {
    let site = Site::start();
    site.put("seen", 1);
    let mut client = site.listen("");
    read_until(&mut client, |data| data.contains(r#""stale":false"#) && seen(1)(data));
    site.board.update(|edit| edit.set_stale(true));
    read_until(&mut client, |data| data.contains(r#""stale":true"#));
    let refused = site.ask(&format!("GET {STATE}\r\n{BEARER}"));
    assert_eq!(refused.status, 503, "{}", refused.body);
    read_until(&mut site.listen(""), |data| data.contains(r#""stale":true"#) && seen(1)(data));
    site.board.update(|edit| edit.set_stale(false));
    read_until(&mut client, |data| data.contains(r#""stale":false"#));
    assert_eq!(site.ask(&format!("GET {STATE}\r\n{BEARER}")).status, 200);
}

#[test]
fn a_client_that_comes_back_goes_on_where_it_was() {
    let site = Site::start();
    site.put("seen", 1);
    let here = site.board.position();
    site.put("seen", 2);
    let mut back = site.listen(&format!("Last-Event-ID: {here}\r\n"));
    assert_eq!(read_until(&mut back, |data| data.contains(r#""reset":false"#) && seen(2)(data)), 1);
    let mut lost = site.listen("Last-Event-ID: 1234-7\r\n");
    assert_eq!(read_until(&mut lost, |data| data.contains(r#""reset":true"#)), 1);
}
