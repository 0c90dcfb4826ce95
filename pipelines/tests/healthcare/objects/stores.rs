//! On each kind of store: a job that dies at its steps, the tools that people use on it, and a copy that slept.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::TryStreamExt;
use object_store::{Error as StoreError, ObjectMeta, ObjectStoreExt, PutMode, PutOptions};
use serde_json::Value;
use tempfile::TempDir;
use thalweg_core::time::Clock;
use thalweg_objects::Remote;
use thalweg_objects::testing::{Emulator, Store};
use thalweg_runtime::SystemClock;

use super::{Calm, LIMIT, download, ended, on, run, run_every, wait};
use crate::maintain::decided;
use crate::support::{
    Started, TABLES, assert_same_tables, count, data_files, healthcare, last_line, output,
    run_file, shown, succeed, table_log, wait_until,
};

/// What an earlier job has left behind, say: no checkpoint names it.
const LOST: &str = "silver/events/part-lost.parquet";

/// Before each 4,096 events: what is left of the input takes a job a few checkpoints.
const PACE: &str = "source.poll=sleep(500)";

/// Of all events those that are read while the tables are maintained.
const PART: &str = "18000";

/// A job on a store.
struct Job<'a> {
    emulator: &'a Emulator,
    calm: &'a Calm,
    place: Remote,
    folder: TempDir,
}

impl<'a> Job<'a> {
    fn new(emulator: &'a Emulator, calm: &'a Calm) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { emulator, calm, place: emulator.place("job"), folder }
    }

    fn audit_log(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    fn tool(&self, arguments: &[&str]) -> Command {
        let mut command = healthcare();
        on(&mut command, self.emulator).args(arguments).arg("--data-dir");
        command.arg(self.place.to_string());
        command
    }

    /// Something that the audit log tells.
    fn act(&self, arguments: &[&str]) -> String {
        succeed(self.tool(arguments).arg("--audit-log").arg(self.audit_log()))
    }

    /// Reads on up to so many events and dies where the failpoint says.
    fn dies(&self, events: &str, failpoint: &str) {
        let mut command = run_file(Path::new(&self.place.to_string()), &self.calm.input());
        // No checkpoint but the one behind the last of them: so it is known what each one holds.
        command.args(["--events", events, "--checkpoint-interval", "10m"]);
        let output = output(on(&mut command, self.emulator).env("FAILPOINTS", failpoint));
        assert_eq!(output.status.code(), None, "{failpoint} was not passed: {}", shown(&output));
    }

    /// Merges from two files on; of files that nobody needs those go that are older than an hour. No table: all of them.
    fn maintain(&self, tables: &[&str]) -> Value {
        let mut command = self.tool(&["maintain", "--min-files", "2", "--retention", "1h"]);
        if !tables.is_empty() {
            command.args(["--tables", &tables.join(",")]);
        }
        let output = output(&mut command);
        assert!(matches!(output.status.code(), Some(0 | 99)), "{}", shown(&output));
        let done = last_line(&output);
        assert_eq!(done["failed"], 0, "{}", shown(&output));
        done
    }

    /// As [`Job::maintain`], with all that the store holds long past its retention.
    fn maintain_much_later(&self, tables: &[&str]) -> Value {
        self.emulator.proxy().age(true);
        let done = self.maintain(tables);
        self.emulator.proxy().age(false);
        done
    }

    fn verify(&self) {
        let told = succeed(&mut self.tool(&["checkpoints", "verify"]));
        assert!(told.contains("are as they should be"), "{}: {told}", self.place);
    }

    /// One request in a hundred is cut, fails after its effect, or is refused while this is done.
    fn in_a_storm<T>(&self, done: impl FnOnce() -> T) -> T {
        let seed = rand::random();
        println!("the storm over {} is {seed}", self.place);
        self.emulator.proxy().storm(10, seed);
        let done = done();
        self.emulator.proxy().storm(0, 1);
        done
    }

    fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        download(self.emulator, &self.place, copy.path());
        copy
    }

    /// What a vacuum may take of a job that has died is not what it has decided.
    fn only_what_nobody_waits_for_is_removed(&self) {
        let (store, path) =
            (self.place.open(&self.emulator.access()).unwrap(), self.place.join(LOST).prefix());
        wait(async { store.put(&path, "nobody's".into()).await.unwrap() });
        let before = listed(self.emulator, &self.place);
        self.maintain_much_later(&[]);
        let after = listed(self.emulator, &self.place);
        let gone: Vec<&String> = before.difference(&after).collect();
        // An attempt that the storm ended left files, too.
        let nobodys = |name: &String| name == LOST || name.ends_with(".parquet");
        assert!(gone.iter().any(|name| *name == LOST), "{}", self.place);
        assert!(gone.iter().all(|name| nobodys(name)), "{}: {gone:?}", self.place);
        let copy = self.copy();
        let decided = decided(copy.path());
        assert!(!decided.is_empty() && decided.iter().all(|file| file.exists()), "{}", self.place);
        assert!(data_files(&copy.path().join("silver/events")).is_empty(), "they wait");
    }

    /// Gives up the rows that wait for silver, and goes back to the checkpoint before them, of 6,000 events.
    fn given_up_and_gone_back(&self) {
        let back = head(self.emulator, &self.place).unwrap();
        self.dies("12000", "commit.before@silver=1*off->return(exit)");
        let void = head(self.emulator, &self.place).unwrap();
        assert_eq!(void, back + 1, "it was decided before it died");

        let void = void.to_string();
        let told =
            self.act(&["checkpoints", "resolve", "--sink", "silver", "--void", void.as_str()]);
        self.verify();
        let copy = self.copy();
        let rows = |table: &str| count(copy.path(), table);
        assert_eq!(rows("bronze/events"), 12_000, "the other tables have theirs");
        let lost = 12_000 - rows("silver/events") - rows("quarantine/events");
        assert!(lost > 0 && told.contains(&format!(": {lost} rows in")), "{lost}: {told}");

        let told = self.act(&["checkpoints", "rewind", "--to", back.to_string().as_str()]);
        assert!(told.contains(&format!("goes back to {back};")), "{told}");
        for (table, version) in table_log::told_to_restore(&told) {
            self.restore(copy.path(), table, version);
        }
        assert_eq!(rows("bronze/events"), 6_000);
        let audited = fs::read_to_string(self.audit_log()).unwrap();
        for action in ["resolve", "rewind"] {
            let entries = audited.lines().filter(|entry| entry.contains(action));
            assert_eq!(entries.count(), 2, "it is told that it begins and ends: {audited}");
        }
    }

    /// Restores a table in a copy, and gives the store the entry that does it.
    fn restore(&self, copy: &Path, table: &str, version: i64) {
        table_log::restore(&copy.join(table), version);
        let log = fs::read_dir(copy.join(table).join("_delta_log")).unwrap();
        let entries = log.map(|entry| entry.unwrap().path());
        let jsons = entries.filter(|path| path.extension().is_some_and(|e| e == "json"));
        let newest = jsons.max().unwrap();
        let bytes = fs::read(&newest).unwrap();
        let name = newest.strip_prefix(copy).unwrap().to_str().unwrap();
        let (store, path) =
            (self.place.open(&self.emulator.access()).unwrap(), self.place.join(name).prefix());
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match wait(async { store.put_opts(&path, bytes.into(), options).await }) {
            // Where nothing had to be taken out there is no new one.
            Ok(_) | Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {}
            Err(error) => panic!("{}: {error}", self.place),
        }
    }

    /// Reads the rest; these tables, or all, are maintained beside that and behind it, much later: they have few files and
    /// short logs, and every table the rows of an undisturbed run.
    fn goes_on_and_is_maintained(&self, tables: &[&str]) {
        let before = head(self.emulator, &self.place);
        let beside = self.in_a_storm(|| {
            // Not too many entries: the emulators take a while to remove each.
            let mut command = run_every("1s", self.emulator, &self.place, &self.calm.input());
            command.args(["--events", PART]).env("FAILPOINTS", PACE);
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            let mut job = Started::new(&mut command);
            wait_until(&mut job, "a checkpoint of what is left", || {
                head(self.emulator, &self.place) > before
            });
            let beside = self.maintain(tables);
            let (status, said) = ended(&mut job);
            assert!(status.success(), "{status}: {said}");
            beside
        });
        // The last commits come behind what was maintained beside, however slow that was.
        succeed(&mut run(self.emulator, &self.place, &self.calm.input()));
        let behind = self.maintain_much_later(tables);
        let sum = |name: &str| beside[name].as_u64().unwrap() + behind[name].as_u64().unwrap();
        let told = format!("{}: beside {beside}, behind {behind}", self.place);
        assert!(sum("files_after") < sum("files_before"), "{told}");
        assert!(sum("log_checkpoints") > 0, "{told}");
        assert!(behind["log_entries_removed"].as_u64().unwrap() > 0, "{told}");
        self.verify();
        let copy = self.copy();
        // A file of more than a MiB that is larger than all smaller ones stays as it is, as bronze's do.
        let merged: &[&str] = if tables.is_empty() { &TABLES[1..] } else { tables };
        for table in merged {
            let files = data_files(&copy.path().join(table)).len();
            assert!((1..=4).contains(&files), "{files} files of {table} in {}", self.place);
        }
        assert_same_tables(&self.calm.tables(), copy.path());
    }

    fn can_be_looked_at(&self) {
        assert!(succeed(&mut self.tool(&["checkpoints", "list"])).contains("finished"));
        let message = self.act(&["decrypt", "--offsets", "0..1", "--table", "bronze/events"]);
        let line = fs::read_to_string(self.calm.input()).unwrap();
        assert_eq!(message.trim_end(), line.lines().next().unwrap(), "{}", self.place);
    }
}

/// The names of all objects below a place.
fn listed(emulator: &Emulator, place: &Remote) -> BTreeSet<String> {
    let (store, prefix) = (place.open(&emulator.access()).unwrap(), place.prefix());
    let objects: Vec<ObjectMeta> =
        wait(async { store.list(Some(&prefix)).try_collect().await }).unwrap();
    let above = format!("{prefix}/");
    let names = objects.into_iter().map(|object| object.location.to_string());
    names.map(|name| name.strip_prefix(above.as_str()).unwrap().to_owned()).collect()
}

/// The newest checkpoint.
fn head(emulator: &Emulator, place: &Remote) -> Option<u64> {
    let number = |name: String| {
        name.strip_prefix("checkpoints/manifest-")?.strip_suffix(".json")?.parse().ok()
    };
    listed(emulator, place).into_iter().filter_map(number).max()
}

fn signal(process: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &process.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

/// Stops a copy behind its first checkpoint, while it waits so long in the middle of its input, and lets it go on once
/// another one has come to the end. `false`: it was stopped too late.
fn a_copy_that_slept_is_fenced(emulator: &Emulator, calm: &Calm, waits: Duration) -> bool {
    let place = emulator.place(&format!("slept-{}", waits.as_secs()));
    let mut command = run(emulator, &place, &calm.input());
    command.env("FAILPOINTS", format!("source.poll=2*off->1*sleep({})->off", waits.as_millis()));
    let mut first = Started::new(command.stdout(Stdio::null()).stderr(Stdio::piped()));
    let clock = SystemClock::default();
    while head(emulator, &place).is_none_or(|number| number < 1) {
        assert!(clock.monotonic() < LIMIT, "the first checkpoint did not come");
        if let Some(status) = first.try_wait().unwrap() {
            assert!(status.success(), "the first one ended before there was another: {status}");
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    signal(&first, "-STOP");
    succeed(&mut run(emulator, &place, &calm.input()));
    signal(&first, "-CONT");
    let (status, said) = ended(&mut first);
    calm.assert_same(emulator, &place);
    assert!(status.success() || said.contains("owns this job"), "{place}: {status}: {said}");
    !status.success()
}

#[test]
fn a_job_that_dies_and_is_worked_on_ends_exactly_on_every_store() {
    let calm = Calm::new(20_000, 13);
    let clock = SystemClock::default();
    Emulator::on_each(&[Store::S3, Store::Adls, Store::Gcs], |emulator| {
        let job = Job::new(emulator, &calm);
        let begun = clock.monotonic();
        job.in_a_storm(|| job.dies("6000", "manifest.after=return(exit)"));
        job.only_what_nobody_waits_for_is_removed();
        // Between the commits of two tables, while it finishes what it has decided before.
        job.in_a_storm(|| job.dies("6000", "commit.after=2*off->return(exit)"));
        job.verify();
        let scheme = job.place.url().scheme();
        if scheme != "gs" {
            job.given_up_and_gone_back();
        }
        // All of the tables take the other emulators a minute, and ask nothing of a store that two do not.
        let tables: &[&str] =
            if scheme == "abfss" { &[] } else { &["quarantine/events", "silver/events"] };
        job.goes_on_and_is_maintained(tables);
        job.can_be_looked_at();
        let took = clock.monotonic().saturating_sub(begun);
        println!("{}: {} faults, {took:.1?}", job.place, emulator.proxy().met());

        // Of two copies that are awake the other test on S3 tells.
        if scheme != "s3" {
            let slept = |seconds| {
                a_copy_that_slept_is_fenced(emulator, &calm, Duration::from_secs(seconds))
            };
            assert!([5, 20, 80].into_iter().any(slept), "the copy was always stopped too late");
        }
    });
}
