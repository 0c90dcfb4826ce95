//! The process that is tortured: the healthcare job with all its topics, and the maintenance of its tables in the same process,
//! with a disk and a clock that may misbehave.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use thalweg_connectors::clock;
use thalweg_connectors::delta::DeltaCommitter;
use thalweg_connectors::kafka::KafkaSource;
use thalweg_connectors::testing::faulty_store::faulty;
use thalweg_core::Result;
use thalweg_core::connector::source::Source;
use thalweg_core::crypto::MasterKey;
use thalweg_core::time::Clock;
use thalweg_objects::Place;
use thalweg_pipelines::cli::{DataArgs, Schedule};
use thalweg_pipelines::healthcare::config::{HealthcareConfig, MaintenanceSection, Rejected};
use thalweg_pipelines::healthcare::maintain::Maintained;
use thalweg_pipelines::healthcare::topics::Topics;
use thalweg_pipelines::healthcare::{HealthcareFormat, healthcare_graph, keys};
use thalweg_runtime::{CheckpointStorage, JobBuilder, LocalStorage, SystemClock};

use crate::clock::JumpingClock;
use crate::disk::{Disk, FullCheckpoints};
use crate::told::note;

/// Time between checkpoints: short, so that every fault meets one.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(100);
/// Entries between two clean-ups of a table's log while the clock jumps: it is away for about half of them.
const CLEAN_UP: u64 = 10;
/// No partition counts as idle, or the set of late events would depend on how long a broker was away.
const NEVER_IDLE: Duration = Duration::from_hours(24);

/// Told for each run of maintenance that merged files.
pub(crate) const MERGED: &str = "small files were merged";
/// Told for each run of maintenance that put a checkpoint into a log, or removed expired entries of one.
pub(crate) const TRIMMED: &str = "logs were looked after";
/// Told for each run of maintenance that removed files.
pub(crate) const VACUUMED: &str = "files were removed";
/// Time between two merges, and two whole runs of maintenance: workers live for a second or two.
const MERGE_INTERVAL: Duration = Duration::from_millis(500);
const MAINTENANCE_INTERVAL: Duration = Duration::from_millis(1_500);
/// Fewer files are not merged.
const MIN_FILES: usize = 4;
/// A quarter of an hour beyond the farthest that the clock jumps: where it is ahead by a day, files of that age go. What a
/// running job writes waits for its manifest for a few seconds.
const RETENTION: Duration = Duration::from_mins(24 * 60 + 15);

/// What to run.
#[derive(Debug, Clone, Args)]
pub(crate) struct WorkerArgs {
    #[arg(long)]
    pub(crate) servers: String,
    #[arg(long)]
    pub(crate) topic: String,
    #[arg(long)]
    pub(crate) mirror: String,
    #[arg(long)]
    pub(crate) dead_letters: String,
    #[arg(long)]
    pub(crate) alerts: String,
    #[arg(long)]
    pub(crate) data_dir: PathBuf,
    /// Read this many messages in all and drain
    #[arg(long)]
    pub(crate) events: Option<u64>,
    /// Subtasks per task
    #[arg(long)]
    pub(crate) parallelism: u32,
    /// The disk is full for a moment each time it has been written to this often
    #[arg(long)]
    pub(crate) full_every: Option<u64>,
    /// The clock jumps to and fro by this many seconds
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) clock_jumps: Option<i64>,
    /// Small files are another writer's to merge
    #[arg(long)]
    pub(crate) keep_files: bool,
}

impl WorkerArgs {
    /// The command line that gives these arguments.
    pub(crate) fn to_args(&self) -> Vec<String> {
        let mut args: Vec<String> = ["worker", "--servers", &self.servers, "--topic", &self.topic]
            .map(ToOwned::to_owned)
            .to_vec();
        args.extend(["--mirror".to_owned(), self.mirror.clone()]);
        args.extend(["--dead-letters".to_owned(), self.dead_letters.clone()]);
        args.extend(["--alerts".to_owned(), self.alerts.clone()]);
        args.extend(["--data-dir".to_owned(), self.data_dir.display().to_string()]);
        args.extend(["--parallelism".to_owned(), self.parallelism.to_string()]);
        let optional = [
            ("--events", self.events.map(|n| n.to_string())),
            ("--full-every", self.full_every.map(|n| n.to_string())),
            ("--clock-jumps", self.clock_jumps.map(|n| n.to_string())),
        ];
        for (name, value) in optional {
            args.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
        }
        args.extend(self.keep_files.then(|| "--keep-files".to_owned()));
        args
    }
}

/// Runs the job to its end, which is an error unless `--events` is given.
pub(crate) fn run(args: &WorkerArgs) -> Result<()> {
    let mut config = HealthcareConfig::default();
    config.kafka.bootstrap_servers = Some(args.servers.clone());
    config.kafka.topic.clone_from(&args.topic);
    config.mirror.topic = Some(args.mirror.clone());
    config.quarantine.on_rejected = Rejected::Topic;
    config.quarantine.topic = Some(args.dead_letters.clone());
    config.alerts.topic = Some(args.alerts.clone());
    config.time.idle_after = NEVER_IDLE;
    config.runtime.checkpoint_interval = CHECKPOINT_INTERVAL;
    config.runtime.parallelism = args.parallelism;
    let disk = args.full_every.map(Disk::full_every);
    let mut storage: Arc<dyn CheckpointStorage> =
        Arc::new(LocalStorage::open(args.data_dir.join("checkpoints"))?);
    let mut tables = DeltaCommitter::new(&args.data_dir)?;
    if let Some(disk) = disk {
        storage = Arc::new(FullCheckpoints { inner: storage, disk: Arc::clone(&disk) });
        tables = tables.decorate_stores(move |inner| faulty(inner, disk.clone()));
    }
    if args.clock_jumps.is_some() {
        tables = tables.checkpoint_every(CLEAN_UP);
    }
    let clock: Arc<dyn Clock> = match args.clock_jumps {
        Some(seconds) => Arc::new(JumpingClock::new(seconds)),
        None => Arc::new(SystemClock::default()),
    };
    // What sources and sinks write down, and what they clean up by it, jumps with the job's own times.
    clock::read_from(Arc::clone(&clock));
    let key: Arc<MasterKey> =
        Arc::new(keys::load_or_create(&Place::Folder(args.data_dir.clone()), None)?.0);
    let format = Arc::new(HealthcareFormat::new(&config.decoding));
    let source: Arc<dyn Source> = Arc::new(KafkaSource::new(config.kafka.source()?, format));
    let topics = Topics::of(&config)?;
    let graph = healthcare_graph(&config, source, &Arc::new(tables), topics.as_ref(), &key)?;
    let _maintenance = maintain(args)?;
    JobBuilder::new(graph, storage, key)
        .settings(config.runtime)
        .events(args.events)
        .drain_at_end(args.events.is_some())
        .clock(clock)
        .start()?
        .join()
        .map(drop)
}

/// Maintenance as `healthcare run` has it beside its job, only more often.
fn maintain(args: &WorkerArgs) -> Result<Option<Schedule>> {
    let data = DataArgs { config: None, data_dir: Place::Folder(args.data_dir.clone()) };
    let settings = MaintenanceSection {
        interval: MAINTENANCE_INTERVAL,
        merge_interval: MERGE_INTERVAL,
        retention: RETENTION,
        min_files: if args.keep_files { usize::MAX } else { MIN_FILES },
    };
    Schedule::start(&data, &settings, |done: &Maintained| {
        for (happened, line) in [
            (done.files_after < done.files_before, MERGED),
            (done.log_checkpoints + done.log_entries_removed > 0, TRIMMED),
            (done.vacuumed_files > 0, VACUUMED),
        ] {
            if happened {
                note(line);
            }
        }
    })
}
