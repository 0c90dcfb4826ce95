//! How a worker ends by itself, and which ends the faults around it explain.

use std::process::ExitStatus;

use thalweg_core::ErrorKind;

/// The kinds of errors that end a worker. Its exit code is [`FIRST`] and the kind's place here.
const KINDS: [ErrorKind; 9] = [
    ErrorKind::InvalidGraph,
    ErrorKind::InvalidConfig,
    ErrorKind::InvalidRecord,
    ErrorKind::Transient,
    ErrorKind::Fenced,
    ErrorKind::IncompatibleState,
    ErrorKind::DataLoss,
    ErrorKind::Corrupt,
    ErrorKind::Internal,
];
/// Clear of what others end with: 1 for what has no kind, 2 for wrong usage, 101 for a panic.
const FIRST: u8 = 64;

/// The exit code that tells the kind of error that ended a worker.
pub(crate) fn exit_code(kind: ErrorKind) -> u8 {
    let place = KINDS.iter().position(|known| *known == kind);
    place.and_then(|place| FIRST.checked_add(u8::try_from(place).ok()?)).unwrap_or(1)
}

/// What was done to a worker, as far as it may end of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Met {
    /// Another one ran beside it.
    pub(crate) rival: bool,
    /// Its disk is full now and then.
    pub(crate) full_disk: bool,
    /// Its broker died.
    pub(crate) broker: bool,
}

/// How a worker ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It read everything and flushed it.
    Finished,
    /// With an error of this kind.
    Failed(ErrorKind),
    /// In any other way: a panic, a signal that nobody here sent, a command line that it does not know.
    Crashed,
}

impl End {
    pub(crate) fn of(status: ExitStatus) -> Self {
        let Some(code) = status.code() else { return Self::Crashed };
        if code == 0 {
            return Self::Finished;
        }
        let place = code.checked_sub(i32::from(FIRST)).and_then(|n| usize::try_from(n).ok());
        place.and_then(|place| KINDS.get(place)).map_or(Self::Crashed, |kind| Self::Failed(*kind))
    }

    /// Whether `met` explains it. A worker restarts by itself after most that passes, so that few ends are left: it gives
    /// way to another owner, or it gives up on a disk or a broker that failed ten times in a row.
    pub(crate) fn fits(self, met: Met) -> bool {
        match self {
            Self::Failed(ErrorKind::Fenced) => met.rival,
            Self::Failed(ErrorKind::Transient) => met.full_disk || met.broker,
            Self::Finished | Self::Failed(_) | Self::Crashed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn exited(code: i32) -> End {
        End::of(ExitStatus::from_raw(code << 8))
    }

    #[test]
    fn an_exit_code_tells_the_kind_of_error() {
        for kind in KINDS {
            assert_eq!(exited(exit_code(kind).into()), End::Failed(kind));
        }
        assert_eq!(exited(0), End::Finished);
        for code in [1, 2, 63, 73, 101] {
            assert_eq!(exited(code), End::Crashed, "{code}");
        }
        assert_eq!(End::of(ExitStatus::from_raw(9)), End::Crashed);
    }

    #[test]
    fn an_end_needs_a_fault_that_explains_it() {
        let nothing = Met::default();
        let rival = Met { rival: true, ..nothing };
        let full_disk = Met { full_disk: true, ..nothing };
        let broker = Met { broker: true, ..nothing };
        let everything = Met { rival: true, full_disk: true, broker: true };
        let (fenced, transient) =
            (End::Failed(ErrorKind::Fenced), End::Failed(ErrorKind::Transient));
        for (end, met, fits) in [
            (fenced, rival, true),
            (fenced, full_disk, false),
            (fenced, nothing, false),
            (transient, full_disk, true),
            (transient, broker, true),
            (transient, rival, false),
            (transient, nothing, false),
            (End::Failed(ErrorKind::DataLoss), everything, false),
            (End::Failed(ErrorKind::Internal), everything, false),
            (End::Crashed, everything, false),
            (End::Finished, everything, false),
        ] {
            assert_eq!(end.fits(met), fits, "{end:?} {met:?}");
        }
    }
}
