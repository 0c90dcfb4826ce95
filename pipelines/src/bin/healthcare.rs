//! `healthcare`: the healthcare pipeline as a program.

use std::process::ExitCode;

use clap::Parser;
use thalweg_pipelines::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().execute()
}
