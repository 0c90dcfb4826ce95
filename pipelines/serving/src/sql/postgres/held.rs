//! What a client keeps under names, its prepared statements and portals: there is an end to it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use pgwire::api::store::PortalStore;
use pgwire::messages::PgWireFrontendMessage;

use super::failure::Told;

/// So many of each.
const MOST: usize = 512;

/// The names of one connection. Some may be gone from the store, which is looked at when there is no room.
#[derive(Debug, Default)]
pub(super) struct Held {
    statements: Mutex<BTreeSet<String>>,
    portals: Mutex<BTreeSet<String>>,
}

impl Held {
    /// Notes the name under which a message will be kept, if there is room.
    pub(super) fn note<S: PortalStore>(
        &self,
        store: &S,
        message: &PgWireFrontendMessage,
    ) -> Result<(), Told> {
        let (noted, what) = match message {
            PgWireFrontendMessage::Parse(parse) => {
                let kept = |name: &str| store.get_statement(name).is_some();
                (add(&self.statements, parse.name.as_deref(), kept), "statements: DEALLOCATE some")
            }
            PgWireFrontendMessage::Bind(bind) => {
                let kept = |name: &str| store.get_portal(name).is_some();
                (add(&self.portals, bind.portal_name.as_deref(), kept), "portals: close some")
            }
            _ => return Ok(()),
        };
        if noted {
            return Ok(());
        }
        Err(Told::new("54000", format!("this connection keeps {MOST} {what}")))
    }

    /// Forgets a statement, or all of them.
    pub(super) fn forget<S: PortalStore>(&self, store: &S, name: Option<&str>) {
        if let Some(name) = name {
            store.rm_statement(name);
            return;
        }
        let mut names = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        for name in std::mem::take(&mut *names) {
            store.rm_statement(&name);
        }
    }
}

/// Whether the name has a place now. What has none is replaced by the next one and takes no place.
fn add(names: &Mutex<BTreeSet<String>>, name: Option<&str>, kept: impl Fn(&str) -> bool) -> bool {
    let Some(name) = name else { return true };
    let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
    if names.contains(name) {
        return true;
    }
    if names.len() >= MOST {
        names.retain(|name| kept(name));
    }
    names.len() < MOST && names.insert(name.to_owned())
}
