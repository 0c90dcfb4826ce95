//! Pages, JSON and live updates over HTTP.
//!
//! [`Board`] holds what is shown and composes, for each client, what changed since it last looked. [`Gate`] lets in who
//! shows a token, a session's cookie or a link that has not been used, and writes down in a [`Journal`] who came.
//! [`Routes`] puts the gate before every route, and
//! [`HttpServer`] serves them on a thread of its own, within limits. Nothing here knows what is shown.
//!
//! Invariants:
//! * no route answers anything but a refusal or the way in to who was not let in;
//! * a client that reads slowly costs one message, never a queue, and one that does not read is given up;
//! * no token is kept in clear but a link's, and none is ever logged.

mod address;
mod board;
mod door;
mod gate;
mod headers;
mod journal;
mod live;
mod places;
mod refusal;
mod routes;
mod server;
mod session;
mod tokens;
mod wire;

pub use board::{Board, Edit, Position, Reading};
pub use door::{Doorkeeper, Visitor};
pub use gate::Gate;
pub use journal::Journal;
pub use live::{LIVE, STATE, Shown, live, state};
pub use routes::{Body, Routes, SESSION};
pub use server::{HttpServer, Limits};
