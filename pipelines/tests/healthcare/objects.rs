//! The whole job on object stores: tables and checkpoints in a bucket, nothing on a disk.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod stores;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use thalweg_core::time::Clock;
use thalweg_objects::Remote;
use thalweg_objects::testing::{Emulator, Fault};
use thalweg_runtime::SystemClock;

use crate::support::serving::{Serving, cookie, request};
use crate::support::{
    Started, TABLES, assert_alerts, assert_same_tables, count, ended_within, ends_with, fail,
    healthcare, run_file, shown, start, succeed, unless_killed, write_events,
};

const KILLS: u32 = 6;
/// A job that has not come to what is waited for by then hangs.
const LIMIT: Duration = Duration::from_mins(4);

/// Events and the tables of an undisturbed run on a local folder.
struct Calm {
    folder: TempDir,
}

impl Calm {
    fn new(events: u64, seed: u64) -> Self {
        let calm = Self { folder: tempfile::tempdir().unwrap() };
        write_events(&calm.input(), events, seed);
        succeed(&mut run_file(&calm.tables(), &calm.input()));
        assert!(TABLES.iter().all(|t| count(&calm.tables(), t) > 0), "there are rows to compare");
        assert_alerts(&calm.tables(), events);
        calm
    }

    fn input(&self) -> PathBuf {
        self.folder.path().join("events.jsonl")
    }

    fn tables(&self) -> PathBuf {
        self.folder.path().join("calm")
    }

    /// Copies everything below `place` to the disk and compares it with the undisturbed run, without our own reader.
    fn assert_same(&self, emulator: &Emulator, place: &Remote) {
        let copy = tempfile::tempdir().unwrap();
        download(emulator, place, copy.path());
        assert_same_tables(&self.tables(), copy.path());
    }
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn download(emulator: &Emulator, place: &Remote, to: &Path) {
    let store = place.open(&emulator.access()).unwrap();
    let prefix = place.prefix();
    wait(async {
        let objects: Vec<_> = store.list(Some(&prefix)).try_collect().await.unwrap();
        for object in objects {
            let below: PathBuf = object
                .location
                .prefix_match(&prefix)
                .unwrap()
                .map(|p| p.as_ref().to_owned())
                .collect();
            let path = to.join(below);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let bytes = store.get(&object.location).await.unwrap().bytes().await.unwrap();
            fs::write(path, bytes).unwrap();
        }
    });
}

/// The first word of the last line of `checkpoints list`.
fn newest(emulator: &Emulator, place: &Remote) -> String {
    let mut list = healthcare();
    let list = on(list.args(["checkpoints", "--data-dir"]).arg(place.to_string()), emulator);
    let listed = String::from_utf8(list.arg("list").output().unwrap().stdout).unwrap();
    listed.lines().skip(1).last().and_then(|l| l.split(' ').next()).unwrap_or("none").to_owned()
}

/// Waits for the child's end, or kills it with -9 once it has sent this many requests: slow machines make no difference.
fn ended_before(child: &mut Child, emulator: &Emulator, requests: usize) -> bool {
    let limit = emulator.proxy().requests().saturating_add(requests);
    let clock = SystemClock::default();
    while clock.monotonic() < LIMIT {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "broken requests end no job: {status}");
            return true;
        }
        if emulator.proxy().requests() >= limit {
            child.kill().unwrap();
            let ended = unless_killed(child.wait().unwrap());
            assert!(ended.is_none_or(|status| status.success()), "it ended by itself: {ended:?}");
            return ended.is_some();
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    panic!("it neither ended nor sent {requests} requests");
}

fn on<'a>(command: &'a mut Command, emulator: &Emulator) -> &'a mut Command {
    command.envs(emulator.variables())
}

fn run(emulator: &Emulator, place: &Remote, input: &Path) -> Command {
    run_every("200ms", emulator, place, input)
}

fn run_every(interval: &str, emulator: &Emulator, place: &Remote, input: &Path) -> Command {
    let mut command = run_file(Path::new(&place.to_string()), input);
    on(&mut command, emulator).args(["--checkpoint-interval", interval]);
    command
}

#[test]
fn kills_and_broken_requests_lose_and_double_nothing_on_s3() {
    let Some(s3) = Emulator::s3() else { return };
    let calm = Calm::new(20_000, 11);
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut kills = 0;
    while kills < KILLS {
        let place = s3.place("killed");
        // One request in a hundred is cut, fails after its effect, or is refused.
        s3.proxy().storm(10, random.random());
        loop {
            let parallelism = random.random_range(1..=3).to_string();
            let mut command = run(&s3, &place, &calm.input());
            let mut child = start(command.args(["--parallelism", &parallelism]));
            let limit = if kills < KILLS { random.random_range(100..400) } else { usize::MAX };
            if ended_before(&mut child, &s3, limit) {
                break;
            }
            kills += 1;
            println!("killed after {limit} requests at checkpoint {}", newest(&s3, &place));
        }
        s3.proxy().storm(0, 1);
        succeed(&mut run(&s3, &place, &calm.input()));
        calm.assert_same(&s3, &place);
    }
    let met = s3.proxy().met();
    println!("{kills} kills, {met} faults in {} requests", s3.proxy().requests());
    assert!(met > 0, "requests were disturbed");
}

#[test]
fn of_two_copies_on_one_bucket_one_is_fenced() {
    let Some(s3) = Emulator::s3() else { return };
    let calm = Calm::new(20_000, 12);
    s3.proxy().slow(Duration::from_millis(20));
    // The first one is still at it when the second one comes, the later the slower the machine is.
    let has_fenced = |seconds| one_of_two_is_fenced(&s3, &calm, Duration::from_secs(seconds));
    assert!([5, 20, 80].into_iter().any(has_fenced), "the second one always came too late");
}

/// How a copy ended, and what it said on standard error.
fn ended(copy: &mut Started) -> (ExitStatus, String) {
    let status = ended_within(copy, LIMIT).unwrap_or_else(|| panic!("a copy did not end"));
    let mut said = String::new();
    copy.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (status, said)
}

/// Starts a copy and, while it waits so long in the middle of its input, another one. `false`: it came too late.
fn one_of_two_is_fenced(s3: &Emulator, calm: &Calm, waits: Duration) -> bool {
    let place = s3.place(&format!("copies-{}", waits.as_secs()));
    let spawn = |failpoints: &str| {
        let mut command = run(s3, &place, &calm.input());
        command.env("FAILPOINTS", failpoints);
        Started::new(command.stdout(Stdio::null()).stderr(Stdio::piped()))
    };
    let clock = SystemClock::default();
    let mut first = spawn(&format!("source.poll=2*off->1*sleep({})->off", waits.as_millis()));
    while !newest(s3, &place).parse::<u64>().is_ok_and(|number| number >= 1) {
        assert!(clock.monotonic() < LIMIT, "the first checkpoint did not come");
        if let Some(status) = first.try_wait().unwrap() {
            assert!(status.success(), "the first one ended before there was another: {status}");
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let mut second = spawn("");
    let second = ended(&mut second);
    // The first one cannot be through: it has not waited for so long yet.
    let is_early = clock.monotonic() < waits && first.try_wait().unwrap().is_none();
    let is_beside = second.0.success() && is_early;
    let first = ended(&mut first);
    calm.assert_same(s3, &place);
    let says = match (first.0.success(), second.0.success()) {
        (true, true) => {
            assert!(!is_beside, "two copies ran side by side and none was fenced");
            return false;
        }
        (false, false) => panic!("none came through: {first:?}, {second:?}"),
        (false, true) => first.1,
        (true, false) => second.1,
    };
    // A manifest says so, or a table.
    assert!(says.contains("owns this job"), "{says}");
    println!("the last checkpoint is {}", newest(s3, &place));
    true
}

#[test]
fn dashboards_beside_a_job_on_a_bucket_write_down_who_looks_or_say_that_they_do_not() {
    let Some(s3) = Emulator::s3() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (log, users) = (folder.path().join("audit.jsonl"), folder.path().join("users.toml"));
    let job = || {
        let mut command = healthcare();
        on(command.args(["run", "--http", "127.0.0.1:0", "--data-dir"]), &s3)
            .arg(s3.place("dashboards").to_string());
        command
    };
    let unnamed = Serving::start(&mut job());
    let said = unnamed.said.clone();
    drop(unnamed);
    let warned: Vec<&String> = said.iter().filter(|line| line.starts_with("warning: ")).collect();
    assert!(matches!(warned[..], [line] if line.contains("--audit-log")), "{said:?}");

    let token = succeed(
        on(healthcare().args(["users", "add", "ada", "--role", "viewer"]), &s3)
            .arg("--data-dir")
            .arg(s3.place("dashboards").to_string())
            .arg("--users-file")
            .arg(&users)
            .arg("--audit-log")
            .arg(&log),
    );
    let serving =
        Serving::start(job().arg("--audit-log").arg(&log).arg("--users-file").arg(&users));
    assert!(!serving.said.iter().any(|line| line.starts_with("warning: ")), "{:?}", serving.said);
    let (address, link) = serving.link.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let address = address.parse().unwrap();
    cookie(address, &format!("/{link}"));
    let bearer = format!("Authorization: Bearer {}\r\n", token.trim());
    assert_eq!(request(address, "GET", "/api/me", &bearer).0, 200);
    let text = fs::read_to_string(&log).unwrap();
    let logins = text.lines().filter(|line| line.contains("\"action\":\"login\""));
    assert_eq!(logins.count(), 2, "{text}");
}

#[test]
fn what_is_missing_is_said_in_one_line_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, 10, 1);
    let nowhere =
        fail(run_file(Path::new("s3://bucket/job"), &input).env_remove("THALWEG_PHI_KEY"));
    assert!(nowhere.contains("no key file can stand beside s3://bucket/job"), "{nowhere}");
    assert!(nowhere.contains("THALWEG_PHI_KEY") && nowhere.contains("--key-file"), "{nowhere}");
    let users = folder.path().join("users.toml");
    let mut unwritten = run_file(Path::new("s3://bucket/job"), &input);
    let unwritten = fail(unwritten.args(["--http", "127.0.0.1:0", "--users-file"]).arg(&users));
    assert!(unwritten.contains("no audit log can stand beside s3://bucket/job"), "{unwritten}");
    assert!(unwritten.contains("--audit-log"), "{unwritten}");
    // Which files a job is about to decide on nobody knows without its lock.
    let at_once = ["maintain", "--retention", "0s", "--force", "--data-dir", "s3://bucket/job"];
    let unlocked = shown(&ends_with(healthcare().args(at_once), 2));
    assert!(unlocked.contains("needs a lock, which object stores do not have"), "{unlocked}");

    let Some(s3) = Emulator::s3() else { return };
    let place = s3.place("lax");
    s3.proxy().ignore_conditions(true);
    let lax = fail(&mut run(&s3, &place, &input));
    assert!(lax.contains("does not create an object only if it is absent"), "{lax}");
    s3.proxy().ignore_conditions(false);
    let copy = folder.path().join("copy");
    download(&s3, &place, &copy);
    assert!(!copy.exists(), "nothing was written to a store that was refused");

    s3.proxy().next("PUT", "/probe/", Fault::Answer(403));
    let denied = fail(&mut run(&s3, &place, &input));
    assert!(denied.contains("access is denied"), "{denied}");
}
