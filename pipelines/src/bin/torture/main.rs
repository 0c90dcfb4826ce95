//! `torture`: the healthcare pipeline over a real Apache Kafka while everything around it fails, checked by an oracle
//! that shares no code with it.
//!
//! Processes are killed with -9, stopped and woken up, run twice at a time; the broker is killed; disks fill up, the wall
//! clock of job, sources and sinks jumps, by which logs are cleaned up too early, and another Delta writer compacts, vacuums
//! and alters the tables. A worker that ends by itself must have met what explains that, none may panic, and each fault must
//! really have happened; so must the workers' own maintenance of the tables. Afterwards a batch program recomputes bronze,
//! quarantine, silver, late, gold, alerts, the mirror topic and the dead letters from the messages that the broker holds, row
//! by row, compares the topic of alerts with their table, and checks how alerts and published checkpoints hang together;
//! [`oracle`] says what it cannot compare.
#![allow(
    clippy::disallowed_methods,
    reason = "it lets time pass between what it does to other processes, outside of any job"
)]

mod clock;
mod disk;
mod ends;
mod faults;
mod feeder;
mod foreign;
mod oracle;
mod process;
mod supervisor;
mod told;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use thalweg_core::error::chain;
use thalweg_runtime::cli::{init_logging, report_error};

use crate::ends::exit_code;
use crate::supervisor::Torture;
use crate::told::note;
use crate::worker::WorkerArgs;

/// Runs the healthcare pipeline while everything around it fails, and checks every table and topic
#[derive(Debug, Parser)]
#[command(name = "torture", version)]
struct Cli {
    #[command(flatten)]
    torture: TortureArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The process that is tortured
    #[command(hide = true)]
    Worker(WorkerArgs),
}

/// How to torture.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TortureArgs {
    /// Minutes of faults
    #[arg(long, value_name = "M", default_value_t = 10.0)]
    minutes: f64,

    /// Decides what happens when; printed, so that a run can be repeated [default: random]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,

    /// Events per second
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    rate: u32,

    /// Brokers of the cluster; of several one dies at a time, and the others lead what it led
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    brokers: u8,

    /// Keep tables, messages and logs in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    init_logging(true);
    if let Some(Command::Worker(args)) = cli.command {
        return match worker::run(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                note(&format!("error: {}", chain(&error).replace('\n', " ")));
                ExitCode::from(exit_code(error.kind()))
            }
        };
    }
    match Torture::prepare(cli.torture).and_then(Torture::run) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => report_error(&error),
    }
}
