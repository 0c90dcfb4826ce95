//! Who may see what.
//!
//! A [`User`] has one role and one token, which is both the password of SQL and the bearer token of HTTP; the users file
//! keeps hashes of it only. [`Roles`] says what each role may see and is handed in: roles are data. A [`Directory`] is
//! the users file as a running server needs it: read again when it changes, with failed attempts slowed down.

mod directory;
mod roles;
mod scram;
mod token;
mod users;

pub use directory::Directory;
pub use roles::{Columns, Policy, Role, Roles};
pub use scram::ScramVerifier;
pub(crate) use scram::keyed;
pub(crate) use token::random;
pub use token::{Token, TokenMark};
pub use users::{User, Users};
