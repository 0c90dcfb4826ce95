//! What a client keeps, its prepared statements and portals: there is an end to their number and to their bytes.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pgwire::api::portal::{Format, Portal};
use pgwire::api::stmt::StoredStatement;
use pgwire::api::store::{Entry, PortalStore};
use pgwire::api::{DEFAULT_NAME, Type};
use pgwire::messages::PgWireFrontendMessage;
use pgwire::messages::extendedquery::{Bind, Parse};

use super::failure::Told;
use super::wire::LONGEST_INSIDE;

/// So many of each under names.
const MOST: usize = 512;
/// So many bytes of all: the longest statement and its parameters have room.
const MOST_BYTES: usize = 2 * LONGEST_INSIDE;
/// How they are told of.
const PORTALS: &str = "portals and cursors: close some";
/// A name is a key here and in the store.
const KEYS: usize = 2;
/// The type that a client gives a parameter.
const TYPE: usize = size_of::<Option<Type>>();
/// A parameter besides its bytes: its place, and that these are a piece of memory of their own.
const PARAMETER: usize = 64;

/// A statement as it is kept.
pub(super) trait Kept {
    /// About how many bytes it holds.
    fn weight(&self) -> usize;

    /// Whether a portal of it stays when the transaction ends, which is committed or not.
    fn outlives(&self, _committed: bool) -> bool {
        false
    }
}

/// What one connection keeps. The store has it; here are its names.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<Names>);

#[derive(Debug, Default)]
struct Names {
    statements: BTreeSet<String>,
    portals: BTreeSet<String>,
}

impl Held {
    /// Notes the name under which a message will be kept, if there is room for it beside what is kept already.
    pub(super) fn note<S>(&self, store: &S, message: &PgWireFrontendMessage) -> Result<(), Told>
    where
        S: PortalStore,
        S::Statement: Kept,
    {
        let mut names = self.names();
        match message {
            PgWireFrontendMessage::Parse(parse) => {
                let bytes = names.bytes(store) + of_parse(parse);
                add(
                    &mut names.statements,
                    parse.name.as_deref(),
                    bytes,
                    "statements: DEALLOCATE some",
                )
            }
            PgWireFrontendMessage::Bind(bind) => {
                let bytes = names.bytes(store) + of_bind(bind);
                add(&mut names.portals, bind.portal_name.as_deref(), bytes, PORTALS)
            }
            _ => Ok(()),
        }
    }

    /// Notes the name under which a cursor will be kept, whose statement holds `bytes`, if there is room for it.
    pub(super) fn open<S>(&self, store: &S, name: &str, bytes: usize) -> Result<(), Told>
    where
        S: PortalStore,
        S::Statement: Kept,
    {
        let mut names = self.names();
        let bytes = names.bytes(store) + (KEYS + 1) * name.len() + bytes;
        add(&mut names.portals, Some(name), bytes, PORTALS)
    }

    /// A transaction ends, and with it its portals.
    pub(super) fn end<S>(&self, store: &S, committed: bool)
    where
        S: PortalStore,
        S::Statement: Kept,
    {
        self.names().portals.retain(|name| {
            let found = store.get_portal(name);
            let portal = found.as_ref().and_then(Entry::value);
            let stays = portal.is_some_and(|it| it.statement.statement.outlives(committed));
            if !stays {
                store.rm_portal(name);
            }
            stays
        });
        store.rm_portal(DEFAULT_NAME);
    }

    /// Forgets a statement, or all of them.
    pub(super) fn forget<S: PortalStore>(&self, store: &S, name: Option<&str>) {
        if let Some(name) = name {
            store.rm_statement(name);
            return;
        }
        let mut names = self.names();
        for name in std::mem::take(&mut names.statements) {
            store.rm_statement(&name);
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    /// How many bytes the store holds. Names that are gone from it are forgotten: what they stood for was closed, or
    /// was never kept because its message failed.
    fn bytes<S>(&mut self, store: &S) -> usize
    where
        S: PortalStore,
        S::Statement: Kept,
    {
        let mut sum = Sum { bytes: 0, seen: HashSet::new() };
        self.statements.retain(|name| {
            let found = store.get_statement(name);
            sum.statement(name, found.as_ref());
            found.is_some()
        });
        sum.statement(DEFAULT_NAME, store.get_statement(DEFAULT_NAME).as_ref());
        self.portals.retain(|name| {
            let found = store.get_portal(name);
            sum.portal(name, found.as_ref());
            found.is_some()
        });
        sum.portal(DEFAULT_NAME, store.get_portal(DEFAULT_NAME).as_ref());
        sum.bytes
    }
}

/// Adds up what is held.
struct Sum<T> {
    bytes: usize,
    /// A statement counts once: for its name, or for the portals that have outlived that.
    seen: HashSet<*const StoredStatement<T>>,
}

impl<T: Kept> Sum<T> {
    fn statement(&mut self, name: &str, found: Option<&Entry<StoredStatement<T>>>) {
        self.bytes += KEYS * name.len();
        if let Some(Entry::Value(statement)) = found {
            self.once(statement);
        }
    }

    fn portal(&mut self, name: &str, found: Option<&Entry<Portal<T>>>) {
        self.bytes += KEYS * name.len();
        if let Some(Entry::Value(portal)) = found {
            self.once(&portal.statement);
            let formats = codes(&portal.parameter_format) + codes(&portal.result_column_format);
            self.bytes += portal.name.len() + values(&portal.parameters) + formats;
        }
    }

    fn once(&mut self, statement: &Arc<StoredStatement<T>>) {
        if self.seen.insert(Arc::as_ptr(statement)) {
            let types = TYPE * statement.parameter_types.len();
            self.bytes += statement.id.len() + types + statement.statement.weight();
        }
    }
}

/// What a message will hold at least: what is made of its text is not known before.
fn of_parse(parse: &Parse) -> usize {
    let name = parse.name.as_deref().unwrap_or(DEFAULT_NAME).len();
    (KEYS + 1) * name + TYPE * parse.type_oids.len() + parse.query.len()
}

fn of_bind(bind: &Bind) -> usize {
    let name = bind.portal_name.as_deref().unwrap_or(DEFAULT_NAME).len();
    let formats = bind.parameter_format_codes.len() + bind.result_column_format_codes.len();
    (KEYS + 1) * name + values(&bind.parameters) + size_of::<i16>() * formats
}

fn values(parameters: &[Option<Bytes>]) -> usize {
    let bytes: usize = parameters.iter().flatten().map(Bytes::len).sum();
    PARAMETER * parameters.len() + bytes
}

fn codes(format: &Format) -> usize {
    match format {
        Format::Individual(codes) => size_of_val(codes.as_slice()),
        Format::UnifiedText | Format::UnifiedBinary => 0,
    }
}

/// Gives a name a place if there is one, and if `bytes` are not too many for all that will be there. What has no name
/// is replaced by the next one and takes no place.
fn add(
    names: &mut BTreeSet<String>,
    name: Option<&str>,
    bytes: usize,
    what: &str,
) -> Result<(), Told> {
    if bytes > MOST_BYTES {
        let told = format!(
            "this connection would keep more than {MOST_BYTES} bytes of statements and portals: DEALLOCATE or close some"
        );
        return Err(Told::new("54000", told));
    }
    let Some(name) = name else { return Ok(()) };
    if names.len() >= MOST && !names.contains(name) {
        return Err(Told::new("54000", format!("this connection keeps {MOST} {what}")));
    }
    names.insert(name.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use pgwire::api::store::MemPortalStore;

    use super::*;

    const MIB: usize = 1 << 20;

    /// A statement that holds so much; one of an odd number outlives its transaction.
    impl Kept for usize {
        fn weight(&self) -> usize {
            *self
        }

        fn outlives(&self, committed: bool) -> bool {
            committed && *self % 2 == 1
        }
    }

    #[derive(Default)]
    struct Connection {
        held: Held,
        store: MemPortalStore<usize>,
    }

    impl Connection {
        /// A statement whose text has `bytes` bytes, and of which `holds` are made.
        fn parse(&self, name: &str, bytes: usize, holds: usize) -> Result<(), Told> {
            let parse = Parse::new(Some(name.to_owned()), "x".repeat(bytes), Vec::new());
            self.held.note(&self.store, &PgWireFrontendMessage::Parse(parse))?;
            let statement = StoredStatement::new(name.to_owned(), holds, Vec::new());
            self.store.put_statement(Arc::new(statement));
            Ok(())
        }

        fn bind(&self, name: &str, statement: &str, bytes: usize) -> Result<(), Told> {
            let parameters = vec![None, Some(Bytes::from(vec![7; bytes]))];
            let (name, of) = (Some(name.to_owned()), Some(statement.to_owned()));
            let bind = Bind::new(name, of, Vec::new(), parameters, Vec::new());
            let statement = self.store.get_statement(statement).unwrap().value().unwrap().clone();
            let portal = Portal::try_new(&bind, statement).unwrap();
            self.held.note(&self.store, &PgWireFrontendMessage::Bind(bind))?;
            self.store.put_portal(Arc::new(portal));
            Ok(())
        }
    }

    fn refusal(noted: Result<(), Told>) -> String {
        let told = noted.unwrap_err();
        assert_eq!(told.code, "54000");
        told.message
    }

    #[test]
    fn statements_and_parameters_share_their_bytes() {
        let client = Connection::default();
        client.parse("a", 3 * MIB, 3 * MIB).unwrap();
        client.bind("p", "a", 4 * MIB).unwrap();
        assert!(refusal(client.parse("b", MIB, MIB)).contains("8388608 bytes"));
        assert!(refusal(client.bind("q", "a", MIB)).contains("8388608 bytes"));
        client.store.rm_portal("p");
        client.parse("b", MIB, MIB).unwrap();
        // In place of the one before.
        client.parse("b", MIB, MIB).unwrap();
        client.bind("q", "a", 3 * MIB).unwrap();
        client.held.forget(&client.store, None);
        client.parse("c", MIB, MIB).unwrap();
    }

    #[test]
    fn a_statement_counts_with_what_is_made_of_it_and_as_long_as_a_portal_has_it() {
        let client = Connection::default();
        client.parse("a", 10, 7 * MIB).unwrap();
        for portal in 0..100 {
            client.bind(&portal.to_string(), "a", 10).unwrap();
        }
        client.held.forget(&client.store, Some("a"));
        assert!(refusal(client.parse("b", MIB, MIB)).contains("bytes"));
        client.store.clear_portals();
        client.parse("b", MIB, MIB).unwrap();
    }

    #[test]
    fn names_have_their_number_and_their_bytes() {
        let client = Connection::default();
        for name in 0..MOST {
            client.parse(&name.to_string(), 10, 10).unwrap();
        }
        assert!(refusal(client.parse("one more", 10, 10)).contains("512 statements"));
        client.parse("7", 10, 10).unwrap();
        client.store.rm_statement("7");
        client.parse("one more", 10, 10).unwrap();
        assert!(refusal(client.bind(&"p".repeat(3 * MIB), "1", 10)).contains("bytes"));
    }

    #[test]
    fn cursors_have_a_portals_place_and_end_with_the_transaction_unless_they_outlive_it() {
        let client = Connection::default();
        client.parse("even", 10, 10).unwrap();
        client.parse("odd", 10, 11).unwrap();
        let open = |name: &str, bytes| client.held.open(&client.store, name, bytes);
        assert!(refusal(open("c", 8 * MIB)).contains("bytes"));
        for (portal, statement) in [("goes", "even"), ("stays", "odd")] {
            client.bind(portal, statement, 10).unwrap();
        }
        for name in 2..MOST {
            client.bind(&name.to_string(), "even", 10).unwrap();
        }
        assert!(refusal(open("c", 10)).contains("512 portals and cursors"));
        client.held.end(&client.store, true);
        assert!(client.store.get_portal("goes").is_none());
        assert!(client.store.get_portal("stays").is_some());
        open("c", 10).unwrap();
        client.held.end(&client.store, false);
        assert!(client.store.get_portal("stays").is_none());
    }
}
