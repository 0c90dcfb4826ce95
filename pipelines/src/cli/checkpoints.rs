//! `healthcare checkpoints`.

use std::sync::Arc;

use thalweg_core::Result;
use thalweg_runtime::cli::CheckpointsCommand;
use thalweg_runtime::{CheckpointStorage, LocalStorage};

use super::DataArgs;
use super::input;
use super::mirror::MirrorArgs;

/// Looks at the folder, or opens the job for what needs its tables.
pub(super) fn execute(
    data: &DataArgs,
    mirror: &MirrorArgs,
    command: &CheckpointsCommand,
) -> Result<()> {
    let readable = LocalStorage::open_read_only(data.checkpoint_dir())?;
    if !command.needs_job() {
        super::print(&command.read(&readable)?);
        return Ok(());
    }
    let mut config = data.load_config()?;
    mirror.apply(&mut config.mirror);
    let storage: Arc<dyn CheckpointStorage> = Arc::new(LocalStorage::open(data.checkpoint_dir())?);
    // The source is not opened by these commands: any will do.
    let source = input::file(&config, std::path::Path::new("unused"));
    let job = input::job(&config, data, source, storage)?;
    super::print(&command.act(job)?);
    Ok(())
}
