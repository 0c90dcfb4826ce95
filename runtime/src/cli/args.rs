//! Arguments that a pipeline flattens into its own.

use std::time::Duration;

use clap::{Args, ValueEnum};
use thalweg_core::graph::JobGraph;

use crate::job::JobBuilder;
use crate::settings::Settings;

/// How to run a job.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Subtasks per task, 1 to 128 [default: number of cores, 32 at most]
    #[arg(long, value_name = "N")]
    pub parallelism: Option<u32>,

    /// Time between checkpoints, such as 250ms or 5s, at least 1ms [default: 1s]
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration)]
    pub checkpoint_interval: Option<Duration>,

    /// Stop with a checkpoint after this time, such as 90s or 2h
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,

    /// Stop once this many events have been read since the job began
    #[arg(long, value_name = "N")]
    pub events: Option<u64>,

    /// At the end flush every window and finish the job for good, instead of stopping it
    #[arg(long)]
    pub drain: bool,

    /// Begin a new chain of checkpoints over the same tables, reading the input from its start
    #[arg(long)]
    pub fresh: bool,

    /// Write to tables that hold rows no checkpoint knows of
    #[arg(long)]
    pub adopt_tables: bool,

    /// Print errors and the summary only
    #[arg(long, short)]
    pub quiet: bool,
}

impl RunArgs {
    /// `settings` with what was given here.
    #[must_use]
    pub fn apply(&self, mut settings: Settings) -> Settings {
        if let Some(parallelism) = self.parallelism {
            settings.parallelism = parallelism;
        }
        if let Some(interval) = self.checkpoint_interval {
            settings.checkpoint_interval = interval;
        }
        settings
    }

    /// `job` with what was given here.
    pub fn configure(&self, job: JobBuilder, settings: Settings) -> JobBuilder {
        job.settings(self.apply(settings))
            .events(self.events)
            .drain_at_end(self.drain)
            .fresh(self.fresh)
            .adopt_tables(self.adopt_tables)
    }
}

/// How to print a graph.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum GraphFormat {
    /// One line per node.
    #[default]
    Text,
    /// A Mermaid flowchart.
    Mermaid,
}

/// Print the job's graph.
#[derive(Debug, Clone, Args)]
pub struct GraphArgs {
    /// Format
    #[arg(long, value_enum, default_value_t)]
    pub format: GraphFormat,
}

impl GraphArgs {
    /// The graph in the format asked for.
    pub fn render(&self, graph: &JobGraph) -> String {
        match self.format {
            GraphFormat::Text => graph.to_text(),
            GraphFormat::Mermaid => graph.to_mermaid(),
        }
    }
}
