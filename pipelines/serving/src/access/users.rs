//! The users file.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use thalweg_core::error::io as io_error;
use thalweg_core::{Error, Result, durable};

use super::{Role, ScramVerifier, Token, TokenMark};

/// Letters of a user's name.
pub(super) const LONGEST_NAME: usize = 32;

/// One person or tool.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// `a-z 0-9 _ -`: it is in the audit log.
    pub name: String,
    /// What it may see.
    pub role: Role,
    /// Argon2id hash of the token.
    pub(super) token: String,
    /// For SQL.
    pub(super) scram: ScramVerifier,
}

impl User {
    /// Which token it has now.
    pub fn mark(&self) -> TokenMark {
        TokenMark::of(&self.token)
    }

    /// What SQL checks the token with.
    pub fn scram(&self) -> &ScramVerifier {
        &self.scram
    }
}

/// All users.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    #[serde(default, rename = "user")]
    users: Vec<User>,
}

impl Users {
    /// Reads the file; nobody when it does not exist.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`]: others than its owner may read it, or it is no users file;
    /// [`thalweg_core::ErrorKind::Transient`]: it cannot be read.
    pub fn load(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(io_error(format!("read users file {shown}"), error)),
            Ok(text) => text,
        };
        check_mode(path)?;
        // The parser quotes what it does not understand, and that may be a hash.
        let users: Self = toml::from_str(&text).map_err(|_| {
            Error::config(format!("users file {shown} is damaged: add its users again"))
        })?;
        for (at, user) in users.users.iter().enumerate() {
            check_name(&user.name)?;
            if users.users.iter().take(at).any(|earlier| earlier.name == user.name) {
                return Err(Error::config(format!("users file {shown} has a user twice")));
            }
        }
        Ok(users)
    }

    /// Reads the file, changes it and writes it durably, for its owner alone. Processes that do so at once take turns.
    ///
    /// # Errors
    /// Those of [`Users::load`] and of `change`, after which the file is as it was.
    pub fn change<T>(path: &Path, change: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let _turn =
            turn(path).map_err(|e| io_error(format!("lock users file {}", path.display()), e))?;
        let mut users = Self::load(path)?;
        let changed = change(&mut users)?;
        users.write(path)?;
        Ok(changed)
    }

    fn write(&self, path: &Path) -> Result<()> {
        let text = toml::to_string(self)
            .map_err(|_| Error::internal("the users cannot be written as TOML"))?;
        let text = format!(
            "# Users of the server, with hashes of their tokens. Keep it private.\n\n{text}"
        );
        replace_private(path, text.as_bytes())
            .map_err(|e| io_error(format!("write users file {}", path.display()), e))
    }

    /// Adds a user and makes the token, which is kept nowhere.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`]: the name is taken or is none.
    pub fn add(&mut self, name: &str, role: Role) -> Result<Token> {
        check_name(name)?;
        if self.get(name).is_some() {
            return Err(Error::config(format!("there is a user {name} already: remove it first")));
        }
        let token = Token::generate(name)?;
        self.users.push(User {
            name: name.to_owned(),
            role,
            token: token.hash()?,
            scram: ScramVerifier::of(&token)?,
        });
        Ok(token)
    }

    /// Removes a user.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`]: there is none of that name.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        let before = self.users.len();
        self.users.retain(|user| user.name != name);
        if self.users.len() == before {
            return Err(Error::config("there is no such user: see `users list`"));
        }
        Ok(())
    }

    /// The user called `name`.
    pub fn get(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// All, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.users.iter()
    }
}

fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    if name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= LONGEST_NAME
        && name.chars().all(plain)
    {
        return Ok(());
    }
    Err(Error::config(format!(
        "a user's name is made of at most {LONGEST_NAME} of a-z 0-9 _ - and begins with a letter"
    )))
}

/// Whoever has it may change the file. It is a lock on another one: the users file is swapped.
fn turn(path: &Path) -> io::Result<fs::File> {
    let absolute = std::path::absolute(path)?;
    durable::create_folders(absolute.parent().unwrap_or(&absolute))?;
    let mut name = absolute.into_os_string();
    name.push(".lock");
    let mut options = fs::File::options();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(name)?;
    file.lock()?;
    Ok(file)
}

/// Writes the file anew under another name, which only its owner may read from the start, then swaps the two. It is the
/// caller's turn.
fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let absolute = std::path::absolute(path)?;
    let folder = absolute.parent().unwrap_or(&absolute);
    let mut name = std::ffi::OsString::from(durable::TEMPORARY_PREFIX);
    name.push(absolute.file_name().unwrap_or_default());
    let temporary = folder.join(name);
    // A crash has left it.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other?,
    }
    let mut options = fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &absolute)
    });
    if written.is_err() {
        drop(fs::remove_file(&temporary));
    }
    written?;
    durable::sync_folder(folder)
}

#[cfg(unix)]
fn check_mode(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let shown = path.display();
    let mode = fs::metadata(path)
        .map_err(|e| io_error(format!("read users file {shown}"), e))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(Error::config(format!(
            "others may read users file {shown}: chmod 600 {shown}"
        )));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_path: &Path) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_survive_the_file_and_the_token_does_not_stand_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.users.toml");
        assert_eq!(Users::load(&path).unwrap().iter().count(), 0);
        let token = Users::change(&path, |users| users.add("ada", Role::new("viewer"))).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let secret = token.reveal().split_once('.').unwrap().1;
        assert!(!text.contains(secret));
        assert_eq!(Users::load(&path).unwrap().get("ada").unwrap().role, Role::new("viewer"));
        Users::change(&path, |users| users.remove("ada")).unwrap();
        assert!(Users::change(&path, |users| users.remove("ada")).is_err());
        assert!(Users::load(&path).unwrap().get("ada").is_none());
    }

    #[test]
    fn changes_at_once_take_turns_and_a_crash_s_leftover_is_in_nobody_s_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.users.toml");
        let leftover = folder.path().join(".tmp-data.users.toml");
        fs::write(&leftover, "half a file").unwrap();
        std::thread::scope(|scope| {
            for who in ["ada", "bob"] {
                let path = &path;
                scope.spawn(move || {
                    for number in 0..5 {
                        let name = format!("{who}{number}");
                        Users::change(path, |users| users.add(&name, Role::new("viewer"))).unwrap();
                    }
                });
            }
        });
        assert_eq!(Users::load(&path).unwrap().iter().count(), 10);
        assert!(!leftover.exists());
    }

    #[test]
    fn a_name_that_is_none_or_taken_is_refused() {
        let mut users = Users::default();
        users.add("ada", Role::new("viewer")).unwrap();
        for name in ["ada", "", "Ada", "a.b", "1st", "a b", &"a".repeat(33)] {
            assert!(users.add(name, Role::new("viewer")).is_err(), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_or_that_is_damaged_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        Users::change(&path, |users| users.add("ada", Role::new("viewer"))).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Users::load(&path).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "[[user]]\nname = \"hunter2\"").unwrap();
        let error = Users::load(&path).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}
