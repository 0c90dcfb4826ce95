//! Maintenance of the tables of a job that runs, that was stopped, and that was killed: no row changes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use thalweg_core::failpoint;
use thalweg_core::time::Clock;
use thalweg_runtime::SystemClock;

use crate::support::{
    Started, TABLES, data_files, ends_with, healthcare, last_line, rows, run_file, shown, start,
    succeed, wait_until, write_events,
};

/// Enough for a few epochs.
const EVENTS: u64 = 45_000;
/// Enough to run for some seconds.
const MANY_EVENTS: u64 = 150_000;
const FORCED: [&str; 3] = ["--retention", "0s", "--force"];

fn maintain(data: &Path) -> Command {
    let mut command = healthcare();
    command.args(["maintain", "--min-files", "2", "--data-dir"]).arg(data);
    command
}

fn verify(data: &Path) {
    succeed(healthcare().args(["checkpoints", "verify", "--data-dir"]).arg(data));
}

/// What an undisturbed run leaves, read once.
struct Calm(Vec<BTreeMap<String, u64>>);

impl Calm {
    fn of(input: &Path, data: &Path) -> Self {
        succeed(&mut run_file(data, input));
        Self(TABLES.iter().map(|table| rows(data, table)).collect())
    }

    fn assert_same(&self, data: &Path) {
        for (table, expected) in TABLES.iter().zip(&self.0) {
            assert!(rows(data, table) == *expected, "{table}");
        }
    }
}

/// A job that has run to its end in a few small epochs, and what an undisturbed run leaves.
fn job(folder: &Path) -> (Calm, PathBuf) {
    let input = folder.join("events.jsonl");
    write_events(&input, EVENTS, 21);
    let data = folder.join("data");
    // However fast it reads and slowly it commits: no file of silver is large, and there are several.
    for events in ["15000", "30000", "45000"] {
        let mut part = run_file(&data, &input);
        succeed(part.args(["--checkpoint-interval", "10ms", "--events", events]));
    }
    succeed(&mut run_file(&data, &input));
    (Calm::of(&input, &folder.join("calm")), data)
}

fn copied(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
}

/// Files below a table's folder, those of the log left out.
fn on_disk(table: &Path) -> usize {
    let entries = fs::read_dir(table).unwrap().map(|e| e.unwrap().path());
    entries
        .filter(|path| !path.ends_with("_delta_log"))
        .map(|path| if path.is_dir() { on_disk(&path) } else { 1 })
        .sum()
}

/// The files that manifests wait to commit, or have committed.
pub(super) fn decided(data: &Path) -> BTreeSet<PathBuf> {
    let manifests = fs::read_dir(data.join("checkpoints")).unwrap().map(|e| e.unwrap().path());
    let manifests = manifests.filter(|p| p.extension().is_some_and(|e| e == "json"));
    let mut files = BTreeSet::new();
    for manifest in manifests {
        let manifest: Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
        for pending in manifest["pending"].as_array().unwrap() {
            let table = data.join(pending["path"].as_str().unwrap());
            let staged = pending["staged"].as_array().unwrap().iter();
            files.extend(staged.map(|s| table.join(s["path"].as_str().unwrap())));
        }
    }
    files
}

/// Each table's folder has the files of its newest version and those that manifests name, and no other.
fn assert_clean(data: &Path) {
    let decided = decided(data);
    for table in TABLES {
        let table = data.join(table);
        let mut needed: BTreeSet<PathBuf> = data_files(&table).into_iter().collect();
        needed.extend(decided.iter().filter(|f| f.starts_with(&table)).cloned());
        assert_eq!(on_disk(&table), needed.len(), "{}", table.display());
    }
}

/// How many entries of a table's log are merges.
fn merges(data: &Path) -> usize {
    let logs = TABLES.iter().map(|table| data.join(table).join("_delta_log"));
    let entries = logs.filter_map(|log| fs::read_dir(log).ok()).flatten();
    let texts = entries.filter_map(|e| fs::read_to_string(e.unwrap().path()).ok());
    texts.filter(|text| text.contains("\"OPTIMIZE\"")).count()
}

#[test]
fn a_job_that_commits_every_50_ms_is_maintained_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, MANY_EVENTS, 22);
    let calm = Calm::of(&input, &folder.path().join("calm"));
    // However fast the job is, maintenance gets its time, and the more of it the slower the machine is.
    let tried = [4, 16, 64].map(|seconds| {
        let data = folder.path().join(format!("data-{seconds}"));
        (data, Duration::from_secs(seconds))
    });
    let data = tried.iter().find(|(data, waits)| maintained_beside(&input, &calm, data, *waits));
    let (data, _) = data.expect("maintenance beside the job merges files");
    let output = until_done(|| maintain(data).output().unwrap());
    assert_eq!(last_line(&output)["tables"], 10, "the cuts, too");
    calm.assert_same(data);
    verify(data);
}

/// Maintains until there is nothing to do: what was merged may be so many files of one size that they are merged again, but not
/// without end.
fn until_done(run: impl FnMut() -> Output) -> Output {
    let mut runs = std::iter::repeat_with(run).take(6);
    runs.find(|output| output.status.code() == Some(99)).expect("there is always more to do")
}

/// Runs a job that waits for so long in the middle of a commit, and maintenance beside it again and again: its rows are
/// those of the calm one. Whether files were merged meanwhile.
fn maintained_beside(input: &Path, calm: &Calm, data: &Path, waits: Duration) -> bool {
    let mut job = run_file(data, input);
    job.args(["--checkpoint-interval", "50ms"]);
    let wait = format!("commit.before=14*off->1*sleep({})->off", waits.as_millis());
    let mut job = start(job.env("FAILPOINTS", wait));
    let clock = SystemClock::default();
    let (mut runs, mut merged) = (0, 0);
    let ended = loop {
        assert!(clock.monotonic() < waits + Duration::from_mins(4), "the job did not end");
        if let Some(status) = job.try_wait().unwrap() {
            break status;
        }
        // Until the job has its first checkpoint there is nothing to look after.
        let output = maintain(data).output().unwrap();
        if matches!(output.status.code(), Some(0 | 99)) {
            let done = last_line(&output);
            assert_eq!(done["failed"], 0, "{}", shown(&output));
            runs += 1;
            let count = |name: &str| done[name].as_u64().unwrap();
            merged += count("files_before") - count("files_after");
        } else {
            assert_eq!(runs, 0, "{}", shown(&output));
        }
    };
    assert!(ended.success());
    calm.assert_same(data);
    verify(data);
    println!("{runs} runs beside the job took {merged} files away");
    runs > 1 && merged > 0
}

#[test]
fn a_maintained_table_has_few_files_and_the_command_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (calm, data) = job(folder.path());
    let silver = data.join("silver/events");
    let before = data_files(&silver).len();
    assert!(before >= 2, "{before} files");
    let one = |data: &Path| {
        let mut command = maintain(data);
        command.args(["--tables", "silver"]);
        command
    };
    let would = last_line(&ends_with(one(&data).arg("--dry-run"), 0));
    assert_eq!((would["tables"].as_u64(), data_files(&silver).len()), (Some(1), before));
    let done = last_line(&ends_with(&mut one(&data), 0));
    assert_eq!(
        (&would["files_before"], &would["files_after"]),
        (&done["files_before"], &done["files_after"])
    );
    assert_eq!(
        (done["files_before"].as_u64(), data_files(&silver).len()),
        (Some(before as u64), 1)
    );
    assert_eq!(on_disk(&silver), before + 1, "older versions can still be read");
    ends_with(&mut maintain(&data), 0);
    let gone = last_line(&ends_with(maintain(&data).args(FORCED), 0));
    assert!(gone["vacuumed_files"].as_u64().unwrap() > 0, "cuts are in no manifest");
    assert_clean(&data);
    calm.assert_same(&data);
    verify(&data);
    until_done(|| maintain(&data).args(FORCED).output().unwrap());
}

#[test]
fn death_at_any_step_of_maintenance_leaves_the_tables_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let (calm, data) = job(folder.path());
    let few = |data: &Path| {
        let mut command = maintain(data);
        command.args(["--tables", "gold/kpis,meta,silver"]).args(FORCED);
        command
    };
    for point in failpoint::MAINTENANCE {
        for skip in [0, 1] {
            let copy = folder.path().join(format!("{point}-{skip}"));
            copied(&data, &copy);
            let mut command = few(&copy);
            command.env("FAILPOINTS", format!("{point}={skip}*off->return(exit)"));
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), None, "{point} was never passed: {}", shown(&output));
            calm.assert_same(&copy);
            ends_with(&mut few(&copy), 0);
            assert_clean(&copy);
            calm.assert_same(&copy);
            verify(&copy);
        }
    }
}

#[test]
fn a_vacuum_spares_what_a_dead_job_has_decided_but_not_committed() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, EVENTS, 23);
    let calm = Calm::of(&input, &folder.path().join("calm"));
    for point in ["manifest.after=1*off->return(exit)", "commit.before=6*off->return(exit)"] {
        let data = folder.path().join(&point[..6]);
        let mut command = run_file(&data, &input);
        command.args(["--checkpoint-interval", "40ms"]).env("FAILPOINTS", point);
        assert_eq!(command.output().unwrap().status.code(), None, "{point} was never passed");
        let live: BTreeSet<PathBuf> =
            TABLES.iter().flat_map(|t| data_files(&data.join(t))).collect();
        let decided = decided(&data);
        assert!(!decided.is_subset(&live), "{point}: nothing waits");
        maintain(&data).args(FORCED).output().unwrap();
        assert!(decided.iter().all(|file| file.exists()), "{point}");
        succeed(&mut run_file(&data, &input));
        calm.assert_same(&data);
        verify(&data);
    }
}

/// Runs the demo, which goes on until it is told to stop, with these settings, until `done` is true of its data folder
/// and its log; then it stops in good order.
fn demo(folder: &Path, name: &str, settings: &str, done: impl Fn(&Path, &str) -> bool) -> PathBuf {
    demo_that_meets(None, folder, name, settings, done)
}

fn demo_that_meets(
    failpoint: Option<&str>,
    folder: &Path,
    name: &str,
    settings: &str,
    done: impl Fn(&Path, &str) -> bool,
) -> PathBuf {
    let (data, config) = (folder.join(name), folder.join(format!("{name}.toml")));
    fs::write(&config, format!("[maintenance]\nmin_files = 2\n{settings}\n")).unwrap();
    let log = folder.join(format!("{name}.log"));
    let mut command = healthcare();
    command.args(["run", "--quiet", "--checkpoint-interval", "50ms", "--data-dir"]).arg(&data);
    command.arg("--config").arg(&config).env("THALWEG_LOG", "warn");
    command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
    command.envs(failpoint.map(|failpoint| ("FAILPOINTS", failpoint)));
    let mut job = Started::new(&mut command);
    let what = format!("what `{name}` waits for");
    wait_until(&mut job, &what, || done(&data, &fs::read_to_string(&log).unwrap()));
    let told = Command::new("kill").args(["-TERM", &job.id().to_string()]).status();
    assert!(told.unwrap().success());
    assert!(job.wait().unwrap().success(), "{}", fs::read_to_string(&log).unwrap());
    data
}

#[test]
fn the_job_looks_after_its_tables_itself_and_survives_when_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let often = "interval = \"100ms\"";
    let data = demo(folder.path(), "on", often, |data, _| merges(data) > 2);
    verify(&data);
    // Merging alone, long before anything else is due.
    let merging = "merge_interval = \"100ms\"";
    let data = demo(folder.path(), "merging", merging, |data, _| merges(data) > 2);
    verify(&data);
    let never = Some("compact.read=return(error)");
    let failed = |_: &Path, log: &str| log.contains("maintenance failed for some tables");
    verify(&demo_that_meets(never, folder.path(), "failing", often, failed));
    let enough = |data: &Path, _: &str| data_files(&data.join("silver/events")).len() > 10;
    let data = demo(folder.path(), "off", "interval = \"0s\"", enough);
    assert_eq!(merges(&data), 0);
}

#[test]
fn wrong_use_is_told_by_the_exit_code_and_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, 2_000, 25);
    let data = folder.path().join("data");
    ends_with(&mut maintain(&data), 2);
    assert!(!data.exists(), "a wrong name makes no folder");
    ends_with(maintain(&data).args(FORCED), 2);
    assert!(!data.exists(), "a wrong name makes no folder");
    let mut job =
        start(run_file(&data, &input).env("FAILPOINTS", "commit.before=1*off->sleep(600000)"));
    // The job is at its first commit, and has its lock.
    let manifest = data.join("checkpoints/manifest-00000000000000000001.json");
    wait_until(&mut job, "the first checkpoint", || manifest.exists());
    let output = ends_with(maintain(&data).args(FORCED), 1);
    assert!(shown(&output).contains("another process is running"), "{}", shown(&output));
    let output = ends_with(maintain(&data).args(["--retention", "59m"]), 2);
    assert!(shown(&output).contains("--force"), "{}", shown(&output));
    ends_with(maintain(&data).args(["--retention", "soon"]), 2);
    ends_with(healthcare().args(["maintain", "--min-files", "1"]), 2);
    let output = ends_with(maintain(&data).args(["--tables", "golf"]), 2);
    assert!(shown(&output).contains("there is no table golf"), "{}", shown(&output));
    job.kill().unwrap();
    job.wait().unwrap();
    succeed(&mut run_file(&data, &input));
    // No table remembers removed files that long: each of them fails, and all are told.
    let output = ends_with(maintain(&data).args(["--retention", "30days"]), 1);
    assert_eq!(
        (&last_line(&output)["failed"], &last_line(&output)["tables"]),
        (&11.into(), &11.into())
    );
    // Nobody reads what is said for people: the code and the last line tell all the same.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let unread = maintain(&data).args(["--tables", "golf"]).stderr(writer).output().unwrap();
    assert_eq!(unread.status.code(), Some(2));
    assert_eq!(last_line(&unread)["status"], "error");
}
