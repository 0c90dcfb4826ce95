//! Errors of the libraries below, told without their texts: those can quote values of records.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io;

use delta_kernel::Error as KernelError;
use object_store::Error as StoreError;
use thalweg_core::Error;

/// A failure of storage while doing `what` (`write a data file`) to `table`: only the kind of the cause is kept.
pub(crate) fn storage(what: impl Display, table: &str, error: &(dyn StdError + 'static)) -> Error {
    let what = format!("{what} of table `{table}`");
    match io_kind(error) {
        Some(kind) => thalweg_core::error::io(what, kind.into()),
        None => thalweg_objects::failed(what, error),
    }
}

/// The table's log cannot be understood: waiting does not help.
pub(crate) fn log(what: impl Display, table: &str, error: &(dyn StdError + 'static)) -> Error {
    // The kernel's own complaints are about what stands in the log.
    if io_kind(error).is_some() || is_request(error) {
        return storage(what, table, error);
    }
    if matches!(kernel_error(error), Some(KernelError::Unsupported(_))) {
        return Error::incompatible(format!(
            "table `{table}` uses a feature of Delta Lake that is not supported here"
        ));
    }
    Error::corrupt(format!("cannot {what} of table `{table}`: its log is damaged or incomplete"))
}

/// Whether an object store failed us, rather than what it holds.
fn is_request(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<StoreError>() {
            return true;
        }
        next = match error.downcast_ref::<KernelError>() {
            Some(KernelError::ObjectStore(inner)) => Some(inner),
            Some(KernelError::Backtraced { source, .. }) => Some(source.as_ref()),
            _ => error.source(),
        };
    }
    false
}

/// The kind of the I/O error at the bottom of `error`, if there is one.
pub(crate) fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return match io.get_ref() {
                Some(inner) if io.kind() == io::ErrorKind::Other => {
                    io_kind(inner).or(Some(io::ErrorKind::Other))
                }
                _ => Some(io.kind()),
            };
        }
        if matches!(error.downcast_ref(), Some(StoreError::NotFound { .. })) {
            return Some(io::ErrorKind::NotFound);
        }
        // Some variants of the kernel hold their cause without calling it the source.
        match error.downcast_ref::<KernelError>() {
            Some(KernelError::IOError(io)) => return Some(io.kind()),
            Some(KernelError::FileNotFound(_)) => return Some(io::ErrorKind::NotFound),
            Some(KernelError::ObjectStore(inner)) => next = Some(inner),
            Some(KernelError::Backtraced { source, .. }) => next = Some(source.as_ref()),
            _ => next = error.source(),
        }
    }
    None
}

fn kernel_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a KernelError> {
    let mut next = Some(error);
    while let Some(error) = next {
        match error.downcast_ref::<KernelError>() {
            Some(KernelError::Backtraced { source, .. }) => next = Some(source.as_ref()),
            Some(found) => return Some(found),
            None => next = error.source(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_found_below_other_errors_and_said_without_their_text() {
        let cause = io::Error::new(io::ErrorKind::StorageFull, "secret value");
        let error = StoreError::Generic { store: "test", source: Box::new(cause) };
        let told = storage("write a data file", "silver/events", &error);
        let text = thalweg_core::error::chain(&told);
        assert!(told.kind().is_retryable());
        assert!(text.contains("disk is full"), "{text}");
        assert!(text.contains("silver/events"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
