use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use thalweg_core::ErrorKind;
use thalweg_core::time::Clock;

use super::event::hex;
use super::log::HASH;
use super::verify::anchor_of;
use super::*;
use crate::access::Token;

mod groups;

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now_micros(&self) -> i64 {
        1_764_021_600_000_000
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

fn log() -> (tempfile::TempDir, PathBuf, AuditLog) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let log = AuditLog::open(&path, Arc::new(Fixed)).unwrap();
    for rows in 0..5 {
        let mut event = Event::new("ada", Action::Query, Outcome::Done);
        event.rows = rows;
        event.tables = vec!["gold_kpis".to_owned()];
        log.append(&event).unwrap();
    }
    (folder, path, log)
}

fn lines(path: &PathBuf) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn wrong(path: &PathBuf, lines: &[String]) -> String {
    let text = lines.join("\n") + "\n";
    fs::write(path, text).unwrap();
    verify(path, &[]).unwrap_err().to_string()
}

#[test]
fn a_log_that_nobody_touched_is_whole_and_goes_on_after_a_restart() {
    let (_folder, path, log) = log();
    drop(log);
    let log = AuditLog::open(&path, Arc::new(Fixed)).unwrap();
    log.append(&Event::new("bob", Action::Login, Outcome::Refused)).unwrap();
    let found = verify(&path, &[]).unwrap();
    assert_eq!(found.entries, 6);
    let first = &lines(&path)[0];
    assert!(
        first.starts_with(
            "{\"seq\":1,\"at\":\"2025-11-24T22:00:00.000000Z\",\"actor\":\"ada\",\"action\":\"query\""
        ),
        "{first}"
    );
}

#[test]
fn every_change_of_every_byte_is_found() {
    let (_folder, path, _log) = log();
    let original = fs::read(&path).unwrap();
    for at in 0..original.len() {
        let mut changed = original.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        assert!(verify(&path, &[]).is_err(), "byte {at}");
    }
}

#[test]
fn every_removed_or_moved_entry_is_found() {
    let (_folder, path, _log) = log();
    let original = lines(&path);
    for at in 0..original.len() {
        let mut fewer = original.clone();
        fewer.remove(at);
        let said = wrong(&path, &fewer);
        let expected = if at == 4 { "its end was removed" } else { "was removed" };
        assert!(said.contains(expected), "{at}: {said}");
        for other in 0..at {
            let mut moved = original.clone();
            moved.swap(at, other);
            assert!(wrong(&path, &moved).contains("put in another place"));
        }
    }
    fs::remove_file(path.with_extension("jsonl.head")).unwrap();
    assert!(wrong(&path, &original).contains("the head beside"));
}

#[test]
fn a_chain_that_was_written_anew_is_found_by_an_entry_that_was_kept_elsewhere() {
    let (_folder, path, log) = log_of(&["ada", "bob"]);
    let kept = verify(&path, &[]).unwrap().head.unwrap();
    drop(log);
    let (_other, forged, _log) = log_of(&["ada", "eve"]);
    assert!(verify(&forged, &[]).is_ok());
    let said = verify(&forged, std::slice::from_ref(&kept)).unwrap_err().to_string();
    assert!(said.contains("written anew"), "{said}");
    assert_eq!(kept.to_string().parse::<Anchor>().unwrap(), kept);
    assert!("7".parse::<Anchor>().is_err());
}

fn log_of(actors: &[&str]) -> (tempfile::TempDir, PathBuf, AuditLog) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let log = AuditLog::open(&path, Arc::new(Fixed)).unwrap();
    for actor in actors {
        log.append(&Event::new(*actor, Action::Query, Outcome::Done)).unwrap();
    }
    (folder, path, log)
}

#[test]
fn what_a_crash_left_half_written_is_cut_off() {
    let (_folder, path, log) = log();
    let mut torn = fs::read(&path).unwrap();
    torn.extend_from_slice(b"{\"seq\":6,\"at\"");
    fs::write(&path, torn).unwrap();
    assert_eq!(verify(&path, &[]).unwrap().entries, 5);
    log.append(&Event::new("ada", Action::Decrypt, Outcome::Done)).unwrap();
    assert_eq!(verify(&path, &[]).unwrap().entries, 6);
}

/// A whole log of another chain.
fn forged(entries: usize) -> String {
    let (_folder, path, _log) = log_of(&vec!["eve"; entries]);
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_log_whose_end_was_cut_off_or_written_anew_is_not_gone_on_with() {
    let (_folder, path, log) = log();
    let event = Event::new("ada", Action::Query, Outcome::Done);
    let whole = fs::read_to_string(&path).unwrap();
    let (fewer, mut changed) = (lines(&path)[..3].join("\n") + "\n", lines(&path));
    let other = changed[4].replace("\"rows\":4", "\"rows\":9");
    let (body, _) = other.rsplit_once(HASH).unwrap();
    changed[4] = format!("{body}{HASH}{}\"}}", hex(&Sha256::digest(body)));
    for (what, found) in [
        ("cut off", fewer),
        ("cut off by one letter", whole.trim_end().to_owned()),
        ("emptied", String::new()),
        ("its last entry changed", changed.join("\n") + "\n"),
        ("another, shorter", forged(2)),
        ("another", forged(5)),
        ("another, longer", forged(7)),
    ] {
        fs::write(&path, &found).unwrap();
        for _ in 0..2 {
            let refused = log.append(&event).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Corrupt, "{what}");
            assert!(refused.to_string().contains("run `audit verify`, then"), "{what}: {refused}");
        }
        assert!(AuditLog::open(&path, Arc::new(Fixed)).is_err(), "{what}");
        assert_eq!(fs::read_to_string(&path).unwrap(), found, "{what}: it is left as it was found");
        assert!(verify(&path, &[]).is_err(), "{what}");
    }
    fs::write(&path, whole).unwrap();
    log.append(&event).unwrap();
    assert_eq!(verify(&path, &[]).unwrap().entries, 6);
}

#[test]
fn a_head_that_a_crash_left_behind_is_taken_and_one_that_is_gone_or_none_is_not() {
    let (_folder, path, log) = log();
    let (head, next) = (path.with_extension("jsonl.head"), path.with_extension("jsonl.head-next"));
    let event = Event::new("ada", Action::Query, Outcome::Done);
    let third = anchor_of(&lines(&path)[2]).unwrap();
    for behind in [third.to_string(), Anchor::none().to_string(), String::new()] {
        fs::write(&head, behind).unwrap();
        fs::write(&next, "half").unwrap();
        drop(AuditLog::open(&path, Arc::new(Fixed)).unwrap());
        log.append(&event).unwrap();
        let newest = verify(&path, &[]).unwrap().head.unwrap();
        assert_eq!(fs::read_to_string(&head).unwrap(), newest.to_string());
    }
    fs::remove_file(&head).unwrap();
    assert_eq!(log.append(&event).unwrap_err().kind(), ErrorKind::Corrupt);
    fs::write(&head, "3").unwrap();
    assert_eq!(log.append(&event).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_log_has_a_head_before_it_has_an_entry() {
    let (_folder, path, _log) = log_of(&[]);
    assert_eq!(verify(&path, &[]).unwrap(), Verified { entries: 0, head: None });
    let head = fs::read_to_string(path.with_extension("jsonl.head")).unwrap();
    assert_eq!(head, Anchor::none().to_string());
}

#[test]
fn two_logs_on_one_file_take_turns() {
    let (_folder, path, log) = log();
    let other = AuditLog::open(&path, Arc::new(Fixed)).unwrap();
    std::thread::scope(|scope| {
        for log in [&log, &other] {
            scope.spawn(move || {
                for _ in 0..10 {
                    log.append(&Event::new("ada", Action::Query, Outcome::Done)).unwrap();
                }
            });
        }
    });
    assert_eq!(verify(&path, &[]).unwrap().entries, 25);
}

#[test]
fn a_log_that_cannot_be_written_is_not_ready_until_it_can() {
    let (_folder, path, log) = log();
    let aside = path.with_extension("aside");
    fs::rename(&path, &aside).unwrap();
    assert!(log.append(&Event::new("ada", Action::Query, Outcome::Done)).is_err());
    assert!(log.ready().is_err());
    fs::rename(&aside, &path).unwrap();
    log.ready().unwrap();
    assert!(lines(&path)[5].contains("\"action\":\"resumed\""));
    assert_eq!(verify(&path, &[]).unwrap().entries, 6);
}

#[test]
fn a_name_that_is_no_name_is_cut_to_what_can_be_printed() {
    let event =
        Event::new("a\n\u{202e}b ".to_owned() + &"c@".repeat(100), Action::Login, Outcome::Refused);
    assert_eq!(event.actor.len(), 64);
    assert!(event.actor.starts_with("abc@"));
    // Somebody has typed a token where a name belongs.
    let event = Event::new("ada.c2VjcmV0.x", Action::Login, Outcome::Refused);
    assert_eq!(event.actor, "ada");
}

#[test]
fn a_secret_that_is_typed_as_a_name_is_in_no_entry() {
    let token = Token::generate("ada").unwrap();
    let secret = token.reveal().split_once('.').unwrap().1;
    let actor = |typed: &str| Event::new(typed, Action::Login, Outcome::Refused).actor;
    assert_eq!(actor(token.reveal()), "ada");
    for typed in [
        secret.to_owned(),
        format!(" {secret}\n"),
        format!("{secret}.ada"),
        format!("ada {secret}"),
        format!("ada:{secret}"),
        format!("{secret}{secret}"),
        secret.get(5..).unwrap().to_owned(),
    ] {
        assert_eq!(actor(&typed), "(no name)");
    }
    assert_eq!(actor(&format!(".{secret}")), "");
}

#[test]
fn a_log_that_is_no_log_is_not_begun_anew() {
    let (_folder, path, log) = log();
    let event = Event::new("ada", Action::Query, Outcome::Done);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [whole.as_slice(), &vec![b'x'; 200_000]].concat()).unwrap();
    assert!(log.append(&event).is_err());
    fs::write(&path, "").unwrap();
    assert!(log.append(&event).is_err());
    fs::write(&path, &whole).unwrap();
    let mut long = event.clone();
    long.tables = vec!["t".repeat(100_000)];
    assert!(log.append(&long).is_err());
    log.append(&event).unwrap();
    assert_eq!(verify(&path, &[]).unwrap().entries, 6);
}

#[test]
fn a_digest_is_the_same_for_the_same_text_under_the_same_key() {
    let (_folder, path, log) = log();
    let told = log.digest("select 1");
    assert_eq!(told.len(), 64);
    assert_ne!(told, log.digest("select 2"));
    drop(log);
    let log = AuditLog::open(&path, Arc::new(Fixed)).unwrap();
    assert_eq!(log.digest("select 1"), told);
    let (_elsewhere, _, other) = self::log();
    assert_ne!(other.digest("select 1"), told);

    let key = path.with_extension("jsonl.key");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    }
    fs::write(&key, "half").unwrap();
    let damaged = AuditLog::open(&path, Arc::new(Fixed)).unwrap_err().to_string();
    assert!(damaged.contains("is damaged: restore or remove it"), "{damaged}");
}
