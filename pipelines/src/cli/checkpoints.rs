//! `healthcare checkpoints`.

use thalweg_core::Result;
use thalweg_runtime::cli::CheckpointsCommand;

use super::JobArgs;
use super::input;
use super::mirror::MirroredArgs;
use crate::healthcare::graph::Sources;

/// Looks at the folder, or opens the job for what needs its tables.
pub(super) fn execute(
    job: &JobArgs,
    mirror: &MirroredArgs,
    command: &CheckpointsCommand,
) -> Result<()> {
    let readable = job.data.checkpoints_read_only()?;
    if !command.needs_job() {
        super::print(&command.read(readable.as_ref())?);
        return Ok(());
    }
    let mut config = job.data.load_config()?;
    mirror.apply(&mut config.mirror);
    let storage = job.checkpoints()?;
    // The sources are not opened by these commands: any will do.
    let events = input::file(std::path::Path::new("unused"), input::format(&config));
    let sources = Sources { events, commands: input::unread_commands(&config)? };
    let job = input::job(&config, job, sources, storage, None)?;
    super::print(&command.act(job)?);
    Ok(())
}
