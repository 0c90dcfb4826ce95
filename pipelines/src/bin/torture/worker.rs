//! The process that is tortured: the healthcare job, with a disk and a clock that may misbehave.

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
use thalweg_pipelines::healthcare::config::HealthcareConfig;
use thalweg_pipelines::healthcare::topics::Topics;
use thalweg_pipelines::healthcare::{HealthcareFormat, healthcare_graph, keys};
use thalweg_runtime::{CheckpointStorage, JobBuilder, LocalStorage, SystemClock};

use crate::clock::JumpingClock;
use crate::disk::{Disk, FullCheckpoints};

/// Time between checkpoints: short, so that every fault meets one.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(100);
/// Entries between two clean-ups of a table's log while the clock jumps: it is away for about half of them.
const CLEAN_UP: u64 = 10;
/// No partition counts as idle, or the set of late events would depend on how long a broker was away.
const NEVER_IDLE: Duration = Duration::from_hours(24);

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
}

impl WorkerArgs {
    /// The command line that gives these arguments.
    pub(crate) fn to_args(&self) -> Vec<String> {
        let mut args: Vec<String> = ["worker", "--servers", &self.servers, "--topic", &self.topic]
            .map(ToOwned::to_owned)
            .to_vec();
        args.extend(["--mirror".to_owned(), self.mirror.clone()]);
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
        args
    }
}

/// Runs the job to its end, which is an error unless `--events` is given.
pub(crate) fn run(args: &WorkerArgs) -> Result<()> {
    let mut config = HealthcareConfig::default();
    config.kafka.bootstrap_servers = Some(args.servers.clone());
    config.kafka.topic.clone_from(&args.topic);
    config.mirror.topic = Some(args.mirror.clone());
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
    JobBuilder::new(graph, storage, key)
        .settings(config.runtime)
        .events(args.events)
        .drain_at_end(args.events.is_some())
        .clock(clock)
        .start()?
        .join()
        .map(drop)
}
