//! `healthcare checkpoints`.

use std::path::Path;

use thalweg_core::checkpoint::Manifest;
use thalweg_runtime::cli::CheckpointsCommand;
use thalweg_serving::audit::Action;

use super::JobArgs;
use super::act::Act;
use super::audit::Deed;
use super::input;
use super::mirror::MirroredArgs;
use super::outcome::{Failure, usage};
use crate::healthcare::graph::Sources;
use crate::healthcare::manifests::Manifests;
use crate::healthcare::topics::Topics;

/// Looks at the folder, or opens the job for what needs its tables.
pub(super) fn execute(
    job: &JobArgs,
    mirror: &MirroredArgs,
    audit_log: Option<&Path>,
    command: &CheckpointsCommand,
) -> Result<(), Failure> {
    let readable = job.data.checkpoints_read_only()?;
    if !command.needs_job() {
        super::print(&command.read(readable.as_ref())?);
        return Ok(());
    }
    let mut config = job.data.load_config()?;
    mirror.apply(&mut config.mirror);
    Topics::of(&config).map_err(usage)?;
    let storage = job.checkpoints()?;
    // The sources are not opened by these commands: any will do.
    let events = input::file(Path::new("unused"), input::format(&config), &config);
    let sources = Sources { events, commands: input::unread_commands(&config)? };
    let newest = Manifests(readable.as_ref()).newest()?;
    let act = Act::new(deed(command, newest.as_ref()), &job.data.data_dir, audit_log)?;
    let job = input::job(&config, job, sources, storage, None)?;
    super::print(&act.perform(|| command.act(job))?);
    Ok(())
}

/// What the audit log tells of a command that changes what the job goes on from, given the newest checkpoint.
fn deed(command: &CheckpointsCommand, newest: Option<&Manifest>) -> Option<Deed> {
    match command {
        CheckpointsCommand::Rewind { to } => {
            let mut deed = Deed::by_operator(Action::Rewind);
            deed.event.places = vec![format!("checkpoint/{to}")];
            Some(deed)
        }
        CheckpointsCommand::Resolve { sink, void } => {
            let mut deed = Deed::by_operator(Action::Resolve);
            deed.event.places = vec![format!("checkpoint/{void}")];
            // The sink that was typed may be none: what is told is the manifest's.
            let waits = newest.into_iter().flat_map(|manifest| &manifest.pending);
            for pending in waits.filter(|p| p.sink == *sink && p.checkpoint.0 == *void) {
                deed.event.tables.push(pending.path.replace('/', "_"));
                deed.event.rows += pending.rows;
            }
            Some(deed)
        }
        _ => None,
    }
}
