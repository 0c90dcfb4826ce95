//! The users file as a running server needs it.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use thalweg_core::Result;
use thalweg_core::time::Clock;

use super::token::{self, Token, TokenMark};
use super::{Role, User, Users};
use crate::network::network;

/// Failures of one name from one address, or network of IPv6, before it has to wait.
const FAILURES: u32 = 10;
/// How long it has to wait.
const PAUSE: Duration = Duration::from_mins(1);
/// What the token of nobody is compared with: how long a refusal takes does not tell whether there is such a user. It has the
/// cost of the users' own, and is the hash of nothing that anybody knows.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgb3duIHNhbHQ\
                      $AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Names and addresses that are remembered; beyond that the oldest are forgotten.
const REMEMBERED: usize = 4096;

/// Users of a running server. The file is read again when it has changed, so that who was removed is out at once.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the file looked like when it was read.
    stamp: Option<Stamp>,
    users: Users,
    /// SHA-256 of tokens that Argon2 has found right, and whose they are: a page that asks twenty times pays once.
    /// Tokens have 256 random bits, so that the fast hash gives nothing away.
    known: HashMap<[u8; 32], String>,
    failures: HashMap<(IpAddr, String), Failures>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    changed: Option<SystemTime>,
    length: u64,
    /// Each change makes another file: two of equal length may have one time, as clocks of file systems tick slowly.
    file: (u64, u64),
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self { changed: file.modified().ok(), length: file.len(), file: identity(file) }
    }
}

/// Device and number.
#[cfg(unix)]
fn identity(file: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

/// Nothing tells.
#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, u64) {
    (0, 0)
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Duration,
}

impl Directory {
    /// The users in the file at `path`.
    ///
    /// # Errors
    /// Those of [`Users::load`].
    pub fn open(path: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Result<Self> {
        let directory = Self { path: path.into(), clock, state: Mutex::default() };
        drop(directory.current()?);
        Ok(directory)
    }

    /// The user called `name`, if there is one now.
    ///
    /// # Errors
    /// Those of [`Users::load`], when the file has changed: then nobody gets in.
    pub fn user(&self, name: &str) -> Result<Option<User>> {
        Ok(self.current()?.users.get(name).cloned())
    }

    /// Whether the user is still there and still has this role and this token: for sessions that last. Who replaces a token
    /// that was stolen has the thief out.
    ///
    /// # Errors
    /// As [`Directory::user`].
    pub fn still(&self, name: &str, role: &Role, mark: TokenMark) -> Result<bool> {
        let state = self.current()?;
        let user = state.users.get(name);
        Ok(user.is_some_and(|user| user.role == *role && user.mark() == mark))
    }

    /// Whose token this is; nobody's after too many failures in a short time. It hashes, which takes tens of
    /// milliseconds the first time: call it where blocking is allowed.
    ///
    /// # Errors
    /// As [`Directory::user`].
    pub fn authenticate(&self, token: &str, from: IpAddr) -> Result<Option<User>> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let name = Token::name(token).unwrap_or_default();
        let user = {
            let state = self.current()?;
            if let Some(known) = state.known.get(&digest) {
                return Ok(state.users.get(known).cloned());
            }
            state.users.get(name).cloned()
        };
        if !self.admits(name, from) {
            return Ok(None);
        }
        let hash = user.as_ref().map_or(NOBODY, |user| user.token.as_str());
        let is_right = token::verify(token, hash);
        let Some(user) = user.filter(|_| is_right) else {
            self.failed(name, from);
            return Ok(None);
        };
        let mut state = self.current()?;
        // It may have been removed meanwhile.
        let still = state.users.get(name).is_some_and(|now| now.token == user.token);
        if still && state.known.len() < REMEMBERED {
            state.known.insert(digest, user.name.clone());
        }
        Ok(still.then_some(user))
    }

    /// Whether another attempt of this name from this address is looked at. Addresses of IPv6 that share their first
    /// half are one.
    pub fn admits(&self, name: &str, from: IpAddr) -> bool {
        let now = self.clock.monotonic();
        let state = self.lock();
        state.failures.get(&(network(from), cut(name))).is_none_or(|failures| {
            failures.count < FAILURES || now.saturating_sub(failures.last) >= PAUSE
        })
    }

    /// Notes a failed attempt.
    pub fn failed(&self, name: &str, from: IpAddr) {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        if state.failures.len() >= REMEMBERED {
            state.failures.retain(|_, failures| now.saturating_sub(failures.last) < PAUSE);
        }
        if state.failures.len() >= REMEMBERED {
            state.failures.clear();
        }
        let whose = (network(from), cut(name));
        let entry = state.failures.entry(whose).or_insert(Failures { count: 0, last: now });
        if now.saturating_sub(entry.last) >= PAUSE {
            entry.count = 0;
        }
        *entry = Failures { count: entry.count.saturating_add(1), last: now };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, from the file as it is now.
    fn current(&self) -> Result<MutexGuard<'_, State>> {
        let stamp = fs::metadata(&self.path).ok().map(|file| Stamp::of(&file));
        let mut state = self.lock();
        if stamp.is_none() || state.stamp != stamp {
            state.known.clear();
            state.users = Users::default();
            state.stamp = None;
            state.users = Users::load(&self.path)?;
            state.stamp = stamp;
        }
        Ok(state)
    }
}

/// A name can be anything that a client sends.
fn cut(name: &str) -> String {
    name.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[derive(Debug, Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now_micros(&self) -> i64 {
            0
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::SeqCst))
        }
    }

    fn directory() -> (tempfile::TempDir, PathBuf, Token, Arc<Hand>, Directory) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let token = Users::change(&path, |users| users.add("ada", Role::new("viewer"))).unwrap();
        let clock = Arc::new(Hand::default());
        let directory = Directory::open(&path, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        (folder, path, token, clock, directory)
    }

    #[test]
    fn who_was_removed_is_out_at_once() {
        let (_folder, path, token, _, directory) = directory();
        let user = directory.authenticate(token.reveal(), HERE).unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.role.as_str()), ("ada", "viewer"));
        assert!(directory.authenticate(token.reveal(), HERE).unwrap().is_some(), "remembered");
        assert!(directory.still("ada", &user.role, user.mark()).unwrap());
        Users::change(&path, |users| users.remove("ada")).unwrap();
        assert!(directory.authenticate(token.reveal(), HERE).unwrap().is_none());
        assert!(!directory.still("ada", &user.role, user.mark()).unwrap());
    }

    #[test]
    fn who_came_in_with_a_token_that_was_replaced_is_out_at_once() {
        let (_folder, path, token, _, directory) = directory();
        let user = directory.authenticate(token.reveal(), HERE).unwrap().unwrap();
        let replace = |users: &mut Users| {
            users.remove("ada")?;
            users.add("ada", Role::new("viewer"))
        };
        let next = Users::change(&path, replace).unwrap();
        assert!(!directory.still("ada", &user.role, user.mark()).unwrap());
        assert!(directory.authenticate(token.reveal(), HERE).unwrap().is_none());
        let again = directory.authenticate(next.reveal(), HERE).unwrap().unwrap();
        assert!(directory.still("ada", &again.role, again.mark()).unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn another_file_of_the_same_length_and_time_is_noticed() {
        let (folder, path, _, _, directory) = directory();
        assert!(directory.user("ada").unwrap().is_some());
        let text = fs::read_to_string(&path).unwrap().replace("name = \"ada\"", "name = \"bob\"");
        let changed = fs::metadata(&path).unwrap().modified().unwrap();
        let next = folder.path().join("next.toml");
        // With the mode of the other one.
        fs::copy(&path, &next).unwrap();
        fs::write(&next, &text).unwrap();
        fs::File::options().write(true).open(&next).unwrap().set_modified(changed).unwrap();
        fs::rename(&next, &path).unwrap();
        assert!(directory.user("ada").unwrap().is_none());
        assert!(directory.user("bob").unwrap().is_some());
    }

    #[test]
    fn after_ten_failures_a_name_waits_a_minute() {
        let (_folder, _, token, clock, directory) = directory();
        for _ in 0..FAILURES {
            assert!(directory.authenticate("ada.wrong", HERE).unwrap().is_none());
        }
        assert!(!directory.admits("ada", HERE));
        assert!(directory.authenticate(token.reveal(), HERE).unwrap().is_none());
        assert!(directory.admits("bob", HERE));
        clock.0.store(PAUSE.as_secs(), Ordering::SeqCst);
        assert!(directory.authenticate(token.reveal(), HERE).unwrap().is_some());
    }

    #[test]
    fn a_refusal_takes_as_long_whether_there_is_such_a_user_or_not() {
        let (_folder, _, token, _, directory) = directory();
        let cost = |hash: &str| hash.rsplitn(3, '$').last().map(str::to_owned);
        assert_eq!(cost(NOBODY), cost(&token.hash().unwrap()));
        for wrong in ["ada.wrong", "bob.wrong", "wrong"] {
            let before = token::HASHED.get();
            assert!(directory.authenticate(wrong, HERE).unwrap().is_none());
            assert_eq!(token::HASHED.get() - before, 1, "{wrong}");
        }
    }

    #[test]
    fn another_address_of_the_same_holder_waits_too() {
        let (_folder, _, _, _, directory) = directory();
        let at = |address: &str| address.parse::<IpAddr>().unwrap();
        for number in 0..FAILURES {
            directory.failed("ada", at(&format!("2001:db8:1:2::{number}")));
            directory.failed("bob", at("::ffff:203.0.113.7"));
        }
        assert!(!directory.admits("ada", at("2001:db8:1:2:3:4:5:6")));
        assert!(directory.admits("ada", at("2001:db8:1:3::1")));
        assert!(directory.admits("ada", at("203.0.113.7")));
        assert!(!directory.admits("bob", at("203.0.113.7")));
        assert!(directory.admits("bob", at("203.0.113.8")));
    }

    #[test]
    fn a_file_that_has_been_damaged_lets_nobody_in() {
        let (_folder, path, token, _, directory) = directory();
        fs::write(&path, "no toml").unwrap();
        assert!(directory.authenticate(token.reveal(), HERE).is_err());
        assert!(directory.user("ada").is_err());
    }
}
