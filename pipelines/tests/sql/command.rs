//! `healthcare serve`, `users` and `audit` as they are typed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use postgres::NoTls;

use super::support::{ended_within, fail, healthcare, operator, run_file, succeed, write_events};

/// What takes longer on the busiest machine does not happen any more.
const PATIENCE: Duration = Duration::from_mins(3);

struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = healthcare();
    command.args(arguments).arg("--data-dir").arg(folder.join("data")).env("USER", "operator");
    command
}

#[test]
fn a_user_that_was_added_reads_until_it_is_removed_and_the_log_tells_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let input = folder.join("events.jsonl");
    write_events(&input, 500, 3);
    succeed(&mut run_file(&folder.join("data"), &input));
    let token = succeed(&mut command(folder, &["users", "add", "ada", "--role", "viewer"]));
    let token = token.trim();
    assert!(token.starts_with("ada."), "a token");
    assert!(
        fail(&mut command(folder, &["users", "add", "ada", "--role", "viewer"]))
            .contains("already")
    );
    assert_eq!(succeed(&mut command(folder, &["users", "list"])), "ada\tviewer\n");

    let mut serve = command(folder, &["serve", "--sql", "127.0.0.1:0"]);
    let mut serving = Serving(serve.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut stdout = BufReader::new(serving.0.stdout.take().unwrap());
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        tell.send(line).unwrap();
    });
    let line = told.recv_timeout(PATIENCE).expect("it does not say where it listens");
    let url = line.trim().strip_prefix("sql: postgresql://").unwrap_or_else(|| panic!("{line}"));
    let url = format!("postgresql://ada:{token}@{url}");
    let mut client = postgres::Client::connect(&url, NoTls).unwrap();
    let rows = client.query("select * from gold_kpis", &[]).unwrap();
    assert!(!rows.is_empty());
    succeed(&mut command(folder, &["users", "remove", "ada"]));
    assert!(client.query("select 1", &[]).is_err());
    assert!(fail(&mut command(folder, &["users", "remove", "ada"])).contains("no such user"));

    let pid = serving.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let ended = ended_within(&mut serving.0, PATIENCE);
    assert!(ended.is_some_and(|ended| ended.success()), "{ended:?}");

    let opened = command(folder, &["decrypt", "--offsets", "0..1"]);
    succeed(&mut { opened });
    let whole = succeed(&mut command(folder, &["audit", "verify"]));
    assert!(whole.contains("entries are as they were written, the newest is "), "{whole}");
    let head = whole.trim().rsplit(' ').next().unwrap().to_owned();
    succeed(&mut command(folder, &["audit", "verify", "--expect", &head]));
    let path = folder.join("data.audit.jsonl");
    let log = fs::read_to_string(&path).unwrap();
    let told = |part: &str, outcome: &str| {
        let told = log.lines().filter(|line| line.contains(part) && line.contains(outcome));
        told.count()
    };
    let by = format!("\"actor\":\"{}\",\"source\":\"cli\"", operator());
    for (action, begun, done) in [("decrypt", 1, 1), ("users", 4, 2)] {
        let part = format!("{by},\"action\":\"{action}\"");
        assert_eq!(told(&part, "\"outcome\":\"begun\""), begun, "{log}");
        assert_eq!(told(&part, "\"outcome\":\"done\""), done, "{log}");
        let failed = "\"outcome\":\"failed\",\"reason\":\"invalidconfig\"";
        assert_eq!(told(&part, failed), begun - done, "{log}");
    }
    assert!(!log.contains(token), "a token in the log");
    // Which message was opened, at the beginning and at the end.
    let opened =
        "\"kind\":\"messages\",\"tables\":[\"bronze_events\"],\"places\":[\"events.jsonl/0/0..1\"]";
    assert_eq!(told(opened, "\"subject\":\""), 2, "{log}");
    fs::write(&path, log.replacen("\"rows\":1", "\"rows\":2", 1)).unwrap();
    assert!(fail(&mut command(folder, &["audit", "verify"])).contains("was changed"));
    // Its last entry is cut off: none is written behind that, which would hide it.
    let (shorter, _) = log.trim_end().rsplit_once('\n').unwrap();
    fs::write(&path, format!("{shorter}\n")).unwrap();
    let refused = fail(&mut command(folder, &["users", "add", "bob", "--role", "viewer"]));
    assert!(refused.contains("run `audit verify`"), "{refused}");
    assert!(fail(&mut command(folder, &["audit", "verify"])).contains("its end was removed"));
}

#[test]
fn what_is_not_safe_is_refused_before_anything_listens() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert!(fail(&mut command(folder, &["serve", "--sql"])).contains("there is no data folder"));
    fs::create_dir(folder.join("data")).unwrap();
    let remote = fail(&mut command(folder, &["serve", "--sql", "0.0.0.0:0"]));
    assert!(remote.contains("--allow-remote"), "{remote}");
    let plain = fail(&mut command(folder, &["serve", "--sql", "0.0.0.0:0", "--allow-remote"]));
    assert!(plain.contains("--tls-cert"), "{plain}");
    let (cert, key) = (folder.join("c.pem"), folder.join("k.pem"));
    fs::write(&cert, "no certificate").unwrap();
    fs::write(&key, "no key").unwrap();
    let mut broken = command(folder, &["serve", "--sql", "127.0.0.1:0"]);
    let broken = fail(broken.arg("--tls-cert").arg(&cert).arg("--tls-key").arg(&key));
    assert!(broken.contains("holds no certificate"), "{broken}");
}
