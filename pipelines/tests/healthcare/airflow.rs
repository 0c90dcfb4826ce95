//! The DAGs of `airflow/dags`, run by a real Airflow on `SQLite` over real tables: what succeeds, and what fails. What
//! their tasks make of the variables of their workers `airflow/test_commands.py` looks at; which day runs are about and
//! which failures fail them `airflow/test_runs.py`.
//!
//! Airflow comes from `pip`, once per machine. Where that is impossible the test says so and ends, or fails when
//! `THALWEG_REQUIRE_AIRFLOW=1`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;
use thalweg_objects::testing::python_environment;

use crate::support::days::{Reading, day, lines};
use crate::support::table_log::lose_a_file;
use crate::support::{Listener, ends_with, healthcare, run_file, shown, succeed, write_events};

const AIRFLOW: &str = "3.3.2";
const DAY: &str = "2025-11-24";
const NEXT_DAY: &str = "2025-11-25";

/// An installed Airflow and a migrated database of it.
struct Airflow {
    program: PathBuf,
    home: PathBuf,
}

/// Folder of a virtual environment with Airflow.
fn environment() -> Option<PathBuf> {
    let package = format!("apache-airflow=={AIRFLOW}");
    match python_environment(&format!("airflow-{AIRFLOW}"), &[&package]) {
        Ok(environment) => Some(environment),
        Err(why) if std::env::var_os("THALWEG_REQUIRE_AIRFLOW").is_some_and(|v| v == "1") => {
            panic!("no Airflow, though THALWEG_REQUIRE_AIRFLOW=1: {why}")
        }
        Err(why) => {
            eprintln!("SKIPPED: no Airflow here: {why}");
            None
        }
    }
}

impl Airflow {
    fn install(folder: &Path) -> Option<Self> {
        let program = environment()?.join("bin/airflow");
        let airflow = Self { program, home: folder.join("home") };
        succeed(airflow.command(&airflow.home).args(["db", "migrate"]));
        Some(airflow)
    }

    fn command(&self, home: &Path) -> Command {
        let mut command = Command::new(&self.program);
        let dags = Path::new(env!("CARGO_MANIFEST_DIR")).join("airflow/dags");
        command
            .env("AIRFLOW_HOME", home)
            .env("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
            .env("AIRFLOW__CORE__DAGS_FOLDER", dags)
            .env("AIRFLOW__USAGE_DATA_COLLECTION__ENABLED", "False")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// What belongs to one run: its database, and its reports.
    fn run_of(&self, dag: &str, data: &Path) -> PathBuf {
        let data = data.file_name().unwrap().display();
        self.home.with_file_name(format!("{dag}-{data}"))
    }

    /// The state of each task of a run, by name.
    fn states(&self, dag: &str, data: &Path) -> BTreeMap<String, String> {
        let script = "import sqlite3, sys\n\
            for row in sqlite3.connect(sys.argv[1]).execute('select task_id, state from task_instance'):\n    print(*row)";
        let mut python = Command::new(self.program.with_file_name("python"));
        let said =
            succeed(python.args(["-c", script]).arg(self.run_of(dag, data).join("airflow.db")));
        let pairs = said.lines().filter_map(|line| line.split_once(' '));
        pairs.map(|(task, state)| (task.to_owned(), state.to_owned())).collect()
    }

    /// What [`Airflow::testing`] ends with.
    fn test(&self, dag: &str, date: &str, data: &Path, webhook: &str) -> Output {
        self.testing(dag, date, data, webhook).output().unwrap()
    }

    /// `airflow dags test` of one DAG, with a database of its own.
    fn testing(&self, dag: &str, date: &str, data: &Path, webhook: &str) -> Command {
        let home = self.run_of(dag, data);
        fs::create_dir_all(&home).unwrap();
        fs::copy(self.home.join("airflow.db"), home.join("airflow.db")).unwrap();
        let mut command = self.command(&home);
        command
            .args(["dags", "test", dag, date])
            .env("HEALTHCARE_BIN", env!("CARGO_BIN_EXE_healthcare"))
            .env("HEALTHCARE_DATA_DIR", data)
            .env("HEALTHCARE_REPORTS", home.join("reports"))
            .env("HEALTHCARE_RETRIES", "0")
            .env("THALWEG_WEBHOOK_URL", webhook)
            .env_remove("THALWEG_LOG");
        command
    }
}

fn tables(folder: &Path, name: &str, readings: &[Reading]) -> PathBuf {
    let (input, data) = (folder.join(format!("{name}.jsonl")), folder.join(name));
    fs::write(&input, lines(readings)).unwrap();
    succeed(&mut run_file(&data, &input));
    data
}

fn refresh(data: &Path) -> Command {
    let mut command = healthcare();
    command.args(["refresh", "--date", DAY, "--data-dir"]).arg(data);
    command
}

#[test]
fn dags_succeed_over_good_tables_and_fail_and_tell_over_bad_ones() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(airflow) = Airflow::install(folder) else { return };

    let good = tables(folder, "good", &day(DAY));
    lose_a_file(&good.join("gold/kpis"));
    let mut told = day(DAY);
    // Too few heart rates: what `quality` tells of, and `refresh` does not mend.
    told.iter_mut().step_by(2).for_each(|reading| reading.heart_rate = None);
    let bad = tables(folder, "bad", &told);
    let (input, still) = (folder.join("events.jsonl"), folder.join("still"));
    write_events(&input, 4_000, 41);
    succeed(run_file(&still, &input).args(["--events", "2000"]));
    let (calm, alarmed, gate) = (Listener::start(), Listener::start(), Listener::start());

    let (airflow, good, bad, still) = (&airflow, &good, &bad, &still);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let output = airflow.test("healthcare_daily", NEXT_DAY, good, &calm.url);
            assert!(output.status.success(), "{}", shown(&output));
            let reports = airflow.run_of("healthcare_daily", good).join("reports");
            for report in ["quality", "report"] {
                assert!(reports.join(format!("{report}-{DAY}.html")).exists(), "{report}");
            }
            ends_with(&mut refresh(good), 99);
            // There is nothing to mend any more: the task is skipped, and the run goes on.
            let output = airflow.test("healthcare_gold", DAY, good, &calm.url);
            assert!(output.status.success(), "{}", shown(&output));
            assert!(shown(&output).contains("Skipping task"), "{}", shown(&output));
            let reports = airflow.run_of("healthcare_gold", good).join("reports");
            assert!(reports.join(format!("report-{DAY}.json")).exists());
            // Good data pass the hourly gate, and a job that has read its input owes nothing.
            let output = airflow.test("healthcare_quality", DAY, good, &calm.url);
            assert!(output.status.success(), "{}", shown(&output));
            let reports = airflow.run_of("healthcare_quality", good).join("reports");
            assert!(reports.join(format!("quality-{DAY}.html")).exists());
            let output = airflow.test("healthcare_monitoring", DAY, good, &calm.url);
            assert!(output.status.success(), "{}", shown(&output));
            assert!(calm.rest().is_empty());
        });
        scope.spawn(move || {
            let output = airflow.test("healthcare_quality", DAY, bad, &gate.url);
            assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
            assert!(!shown(&output).contains("Quimby"));
            let said = gate.next();
            assert_eq!(
                (&said["dag"], &said["task"]),
                (&json!("healthcare_quality"), &json!("quality"))
            );

            // Wrong usage is tried once, however often it might be.
            let absent = bad.with_file_name("absent");
            let mut absently = airflow.testing("healthcare_gold", DAY, &absent, &gate.url);
            let output = absently.env("HEALTHCARE_RETRIES", "2").output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
            assert_eq!(airflow.states("healthcare_gold", &absent)["refresh"], "failed");
            assert_eq!(gate.next()["task"], "refresh");

            let output = airflow.test("healthcare_monitoring", DAY, still, &alarmed.url);
            assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
            // First the command tells what is wrong, then Airflow that the task failed.
            assert_eq!(alarmed.next()["checks"][0]["name"], "silver.age");
            assert_eq!(alarmed.next()["task"], "monitor");

            // The closed gate of the day before fails the run, and keeps nothing else from being done.
            let output = airflow.test("healthcare_daily", NEXT_DAY, bad, &gate.url);
            assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
            let states = airflow.states("healthcare_daily", bad);
            let state = |task: &str| states.get(task).map_or("none", String::as_str);
            assert_eq!(
                ["refresh", "quality", "report"].map(state),
                ["skipped", "failed", "success"],
                "{states:?}"
            );
            // Small tables may be in order as they are.
            assert!(["success", "skipped"].contains(&state("maintain")), "{states:?}");
            let reports = airflow.run_of("healthcare_daily", bad).join("reports");
            for report in ["quality", "report"] {
                assert!(reports.join(format!("{report}-{DAY}.html")).exists(), "{report}");
            }
            let said = gate.next();
            assert_eq!(
                (&said["dag"], &said["task"]),
                (&json!("healthcare_daily"), &json!("quality"))
            );
            assert!(gate.rest().is_empty(), "only the gate is told of");
        });
    });
}

#[test]
fn tasks_and_runs_pass_the_tests_beside_the_dags() {
    let Some(environment) = environment() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("airflow");
    let mut python = Command::new(environment.join("bin/python"));
    python.args(["-m", "unittest", "discover", "-s"]).arg(folder);
    succeed(python.env("PYTHONDONTWRITEBYTECODE", "1"));
}
