//! Every failpoint × every way to fail × the first time, a later one, and while an unfinished checkpoint is being
//! recovered, over the whole pipeline with its Delta tables and a mirror topic: tables and topic always are those of an
//! undisturbed run. Steps beside such a step, steps of one table of several, and steps that are not passed at all these
//! times are tried in the ways and at the times that differ ([`CHOSEN`]). `docs/guarantees.md` shows what each case led
//! to; `UPDATE_DOCS=1` writes it anew.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use support::{
    AllRows, assert_alerts, assert_mirrored, count, run_file, shown, succeed, write_events,
};
use thalweg_connectors::testing::kafka_server::{KafkaServer, or_skip, unique_topic};
use thalweg_core::failpoint;

const EVENTS: u64 = 16_000;
/// Milliseconds by which each look at the input is slowed down, so that so short an input has several checkpoints: on a busy
/// machine they take longer, and a step that was not passed is tried with the next ones.
const PACES: [u32; 3] = [120, 600, 3_000];
/// Cases that run at a time.
const WORKERS: usize = 6;
/// What the log says whenever an attempt ends.
const RESTARTING: &str = "attempt failed; restarting";
const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guarantees.md");
const BEGIN: &str = "<!-- failure matrix: written by pipelines/tests/failure_matrix.rs -->\n";
const END: &str = "<!-- end of the failure matrix -->\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Error,
    Panic,
    Exit,
    Stall,
}

const WAYS: [Way; 4] = [Way::Error, Way::Panic, Way::Exit, Way::Stall];

impl Way {
    fn action(self) -> &'static str {
        match self {
            Self::Error => "return(error)",
            Self::Panic => "panic",
            Self::Exit => "return(exit)",
            Self::Stall => "return(stall)",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    First,
    Later,
    Recovery,
    /// In a process that begins a new chain behind a finished one.
    Fresh,
}

const WHENS: [When; 3] = [When::First, When::Later, When::Recovery];

impl When {
    fn shown(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Later => "later",
            Self::Recovery => "recovery",
            Self::Fresh => "fresh",
        }
    }
}

/// Every case of the points that are not tried at all times in all ways. Those of one table are known by its sink, or by
/// its path. A panic or death at an answer is one behind the step that it answers, which has a point of its own; a stall is an
/// answer that comes late.
const CHOSEN: [(&str, &[(Way, When)]); 20] = {
    use Way::{Error, Exit, Panic, Stall};
    use When::{First, Fresh, Later, Recovery};
    [
        // A chain's first manifest is made once, and each table is.
        ("genesis.before", &[(Error, First), (Panic, First), (Exit, First), (Stall, First)]),
        (
            "genesis.after",
            &[(Error, First), (Panic, First), (Exit, First), (Exit, Fresh), (Stall, First)],
        ),
        // Later: of ten tables one is there and nine are not.
        (
            "create.before",
            &[
                (Error, First),
                (Error, Later),
                (Panic, First),
                (Exit, First),
                (Exit, Later),
                (Stall, First),
            ],
        ),
        (
            "create.after",
            &[
                (Error, First),
                (Error, Later),
                (Panic, First),
                (Exit, First),
                (Exit, Later),
                (Stall, First),
            ],
        ),
        // Of the chain's first manifest, of a later one, and of state.
        ("put.answer", &[(Error, First), (Stall, First)]),
        ("put.answer@manifest", &[(Error, Later), (Error, Recovery), (Stall, Later)]),
        ("put.answer@state", &[(Error, First), (Error, Later), (Error, Recovery), (Stall, First)]),
        ("entry.answer", &[(Error, First), (Error, Later), (Error, Recovery), (Stall, First)]),
        ("entry.answer@gold/kpis", &[(Error, First)]),
        // Between the tables of the first rank, the topic beside them, and those of the second.
        ("commit.before@silver", &[(Exit, First)]),
        ("commit.after@silver", &[(Exit, First)]),
        ("commit.after@mirror", &[(Exit, First)]),
        ("commit.before@gold-kpis", &[(Error, First), (Exit, First)]),
        ("commit.after@gold-vitals-by-minute", &[(Exit, First)]),
        ("commit.after@gold-kpis", &[(Error, First), (Exit, First)]),
        // A first start has nothing to restore, and nothing to close.
        (
            "operator.restore",
            &[
                (Error, Later),
                (Error, Recovery),
                (Panic, Later),
                (Panic, Recovery),
                (Exit, Later),
                (Exit, Recovery),
                (Stall, Later),
                (Stall, Recovery),
            ],
        ),
        ("seal.before", &[(Error, Fresh), (Panic, Fresh), (Exit, Fresh), (Stall, Fresh)]),
        ("seal.after", &[(Error, Fresh), (Panic, Fresh), (Exit, Fresh), (Stall, Fresh)]),
        // Behind what sinks staged, which goes first.
        ("gc.delete@manifest", &[(Error, First), (Exit, First)]),
        ("gc.delete@state", &[(Error, Recovery), (Exit, Recovery)]),
    ]
};

/// What the process did about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The attempt ended and another began, in the same process.
    Restarted,
    /// The process ended; the next one went on.
    Died,
    /// It was met, and nothing but time passed.
    Waited,
    /// The step itself was done again.
    TriedAgain,
    /// What the store has was read, and the step found done.
    Looked,
    /// It was met, and a warning at most is all: nothing depends on it.
    WentOn,
    /// The step was not passed.
    NotPassed,
}

impl Outcome {
    fn shown(self) -> &'static str {
        match self {
            Self::Restarted => "restarts",
            Self::Died => "next run goes on",
            Self::Waited => "waits",
            Self::TriedAgain => "tries again",
            Self::Looked => "looks, goes on",
            Self::WentOn => "goes on",
            Self::NotPassed => "not passed",
        }
    }
}

type Case = (&'static str, Way, When);

struct World<'a> {
    kafka: &'a KafkaServer,
    folder: &'a Path,
    input: &'a Path,
    config: PathBuf,
    calm: AllRows,
    /// Of two chains, one behind the other.
    twice: AllRows,
    run: String,
}

impl World<'_> {
    fn run(&self, case: &str, failpoints: &str) -> Command {
        let mut command = run_file(&self.folder.join(case), self.input);
        command.args(["--checkpoint-interval", "40ms", "--config"]).arg(&self.config);
        command.args(["--mirror-servers", self.kafka.bootstrap_servers()]);
        command.args(["--mirror-topic", &self.topic(case)]);
        command.env("THALWEG_LOG", "warn").env("FAILPOINTS", failpoints);
        command
    }

    fn topic(&self, case: &str) -> String {
        format!("{}-{case}", self.run)
    }

    /// Plays a case to its end, and compares, until its step was passed.
    fn play(&self, case: Case) -> Outcome {
        let mut outcomes = PACES.iter().map(|pace| self.play_at(case, *pace));
        outcomes.find(|outcome| *outcome != Outcome::NotPassed).unwrap_or(Outcome::NotPassed)
    }

    fn play_at(&self, case: Case, pace: u32) -> Outcome {
        let (point, way, when) = case;
        let name = format!("{}-{way:?}-{when:?}-{pace}", point.replace(['@', '/'], "-"));
        let (action, pace) = (way.action(), format!("sleep({pace})"));
        let skipped = if when == When::Later { "1*off->" } else { "" };
        let failpoints = match point {
            "source.poll" => format!("{point}={skipped}1*{action}->{pace}"),
            _ => format!("{point}={skipped}1*{action}->off;source.poll={pace}"),
        };
        let failpoints = if recovers_again(case) {
            format!("{failpoints};commit.before=1*return(error)->off")
        } else {
            failpoints
        };
        self.kafka.create_topic(&self.topic(&name), 1, &[]).unwrap();
        if when == When::Recovery {
            // Leaves a checkpoint that was decided and not finished, and state that no manifest names.
            let dies = "state.after=1*return(error)->off;manifest.after=return(exit)";
            let died = self.run(&name, &format!("{dies};source.poll={pace}")).output().unwrap();
            assert!(died.status.code().is_none(), "{name}: {}", shown(&died));
            assert!(has_met(&died, "manifest.after"), "{name}: {}", shown(&died));
        }
        if when == When::Fresh {
            succeed(&mut self.run(&name, ""));
        }
        let run = |failpoints: &str| {
            let mut command = self.run(&name, failpoints);
            if when == When::Fresh {
                command.arg("--fresh");
            }
            command
        };
        let outcome = outcome(&name, case, &run(&failpoints).output().unwrap());
        if outcome == Outcome::Died {
            succeed(&mut run(""));
        }
        let data = self.folder.join(&name);
        let expected = if when == When::Fresh { &self.twice } else { &self.calm };
        expected.assert_same(&data);
        let messages = self.kafka.committed_messages(&self.topic(&name)).unwrap();
        assert_mirrored(&data, messages.into_iter().map(|m| m.value));
        std::fs::remove_dir_all(&data).unwrap();
        outcome
    }
}

/// A process recovers a second time when its first attempt has failed, behind a checkpoint if there is to be state.
fn recovers_again((point, _, when): Case) -> bool {
    when == When::Later && (point.starts_with("recover.") || point == "operator.restore")
}

/// The log tells of a step that fails, waits or dies before it does.
fn has_met(output: &Output, point: &str) -> bool {
    String::from_utf8_lossy(&output.stderr).contains(&format!("met failpoint {point}"))
}

fn outcome(name: &str, case: Case, output: &Output) -> Outcome {
    let (point, way, _) = case;
    let told = String::from_utf8_lossy(&output.stderr);
    // Of a panic the log tells no more than its place.
    let met = has_met(output, point) || (way == Way::Panic && told.contains("panicked"));
    if output.status.code().is_none() {
        assert!(met, "{name}: died of something else: {}", shown(output));
        return Outcome::Died;
    }
    assert!(output.status.success(), "{name}: {}", shown(output));
    if !met {
        Outcome::NotPassed
    } else if told.matches(RESTARTING).count() > usize::from(recovers_again(case)) {
        Outcome::Restarted
    } else if way == Way::Stall {
        // A broker that is asked twice for its own reasons does not matter here, nor below.
        Outcome::Waited
    } else if point.starts_with("gc.") || point == "group.commit" {
        Outcome::WentOn
    } else if told.contains("trying again") {
        Outcome::TriedAgain
    } else if told.contains("is unclear; reading it") {
        Outcome::Looked
    } else {
        Outcome::WentOn
    }
}

fn expected((point, way, _): Case) -> Outcome {
    match way {
        Way::Exit => Outcome::Died,
        Way::Stall => Outcome::Waited,
        // Old checkpoints are cleaned up and sources told beside the job.
        Way::Error | Way::Panic if point.starts_with("gc.delete") || point == "group.commit" => {
            Outcome::WentOn
        }
        Way::Error if point.contains(".answer") => Outcome::Looked,
        // A transaction that failed is settled by the next one.
        Way::Error if point.starts_with("messages.") => Outcome::TriedAgain,
        Way::Error | Way::Panic => Outcome::Restarted,
    }
}

#[test]
fn whatever_fails_wherever_and_whenever_nothing_is_lost_or_doubled() {
    let Some(kafka) = or_skip(KafkaServer::start_own(1)) else { return };
    // Where there is one, a disk without a disk: what is tried here is the order of steps, not the price of a sync.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = folder.unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, EVENTS, 11);
    let config = folder.path().join("few.toml");
    std::fs::write(&config, "[runtime]\nkeep_checkpoints = 2\nrestart_delay = \"10ms\"\n").unwrap();
    let calm = folder.path().join("calm");
    succeed(&mut run_file(&calm, &input));
    assert_eq!(count(&calm, "silver/events") + count(&calm, "quarantine/events"), EVENTS);
    assert_alerts(&calm, EVENTS);
    let twice = folder.path().join("twice");
    succeed(&mut run_file(&twice, &input));
    succeed(run_file(&twice, &input).arg("--fresh"));
    let (calm, twice) = (AllRows::of(&calm), AllRows::of(&twice));
    let run = unique_topic("matrix");
    let folder = folder.path();
    let world = World { kafka: &kafka, folder, input: &input, config, calm, twice, run };

    let cases = points()
        .into_iter()
        .flat_map(|(point, cases)| cases.into_iter().map(move |(way, when)| (point, way, when)));
    let (queue, outcomes) = (Mutex::new(cases), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some(case) = queue.lock().unwrap().next() else { break };
                    let outcome = world.play(case);
                    outcomes.lock().unwrap().insert(case, outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    let surprises: Vec<_> =
        outcomes.iter().filter(|(case, outcome)| **outcome != expected(**case)).collect();
    assert!(surprises.is_empty(), "{surprises:#?}");
    compare_docs(&matrix(&outcomes));
}

/// Every point with its cases, those of one table behind that of all.
fn points() -> Vec<(&'static str, Vec<(Way, When)>)> {
    let listed = |point: &str| failpoint::ALL.contains(&point.split('@').next().unwrap());
    assert!(CHOSEN.iter().all(|(point, _)| listed(point)), "a point that there is not");
    let mut all = Vec::new();
    for point in failpoint::ALL {
        if CHOSEN.iter().all(|(chosen, _)| *chosen != point) {
            let ways = WAYS.iter().flat_map(|way| WHENS.iter().map(|when| (*way, *when)));
            all.push((point, ways.collect()));
        }
        let here = CHOSEN.iter().filter(|(chosen, _)| chosen.split('@').next() == Some(point));
        all.extend(here.map(|(chosen, cases)| (*chosen, cases.to_vec())));
    }
    all
}

/// One line per step, one column per way. The times have led to the same; they are named where they are not the usual
/// three.
fn matrix(outcomes: &BTreeMap<Case, Outcome>) -> String {
    let mut text =
        String::from("| Step | error | panic | death | stall |\n|---|---|---|---|---|\n");
    for (point, cases) in points() {
        let cell = |way: Way| {
            let tried = cases.iter().filter(|case| case.0 == way);
            let mut times: Vec<When> = tried.map(|(_, when)| *when).collect();
            times.sort_unstable();
            let all: Vec<_> = times.iter().map(|when| outcomes[&(point, way, *when)]).collect();
            assert!(all.iter().all(|one| *one == all[0]), "{point} {way:?} {all:?}");
            let Some(led_to) = all.first().copied().map(Outcome::shown) else {
                return "–".to_owned();
            };
            if times == WHENS {
                return led_to.to_owned();
            }
            let named: Vec<_> = times.into_iter().map(When::shown).collect();
            format!("{led_to} ({})", named.join(", "))
        };
        let cells = WAYS.map(cell).join(" | ");
        writeln!(text, "| `{point}` | {cells} |").unwrap();
    }
    text
}

fn compare_docs(matrix: &str) {
    let docs = std::fs::read_to_string(DOCS).unwrap();
    let (before, rest) = docs.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    if std::env::var("UPDATE_DOCS").is_ok() {
        std::fs::write(DOCS, format!("{before}{BEGIN}{matrix}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(
        shown, matrix,
        "docs/guarantees.md is out of date: run this test with UPDATE_DOCS=1"
    );
}
