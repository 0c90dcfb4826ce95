//! How a program is called, and what it says to whoever calls it otherwise.

use std::ffi::OsString;
use std::io::Write;
use std::str::FromStr;

/// A line that tells how a program is called: `usage: NAME ARGUMENTS`.
#[derive(Debug, Clone, Copy)]
pub struct Usage(pub &'static str);

impl Usage {
    /// The arguments; the program ends where the first one asks for help, and where one is no text.
    pub fn arguments(self) -> Vec<String> {
        self.help_if_asked();
        let arguments = std::env::args_os().skip(1).map(OsString::into_string);
        arguments.collect::<Result<_, _>>().unwrap_or_else(|_| self.misuse())
    }

    /// For a program that takes none.
    pub fn no_arguments(self) {
        if !self.arguments().is_empty() {
            self.misuse();
        }
    }

    /// The number that `argument` is; the program ends where it is none.
    pub fn number<T: FromStr>(self, argument: &str) -> T {
        argument.parse().unwrap_or_else(|_| self.misuse())
    }

    /// Ends the program by exit code 0 where the first argument asks how it is called, and says so.
    pub fn help_if_asked(self) {
        if std::env::args_os().nth(1).is_some_and(|first| first == "--help" || first == "-h") {
            drop(writeln!(std::io::stdout(), "{}", self.0));
            std::process::exit(0);
        }
    }

    /// Says how the program is called, and ends it by exit code 2.
    pub fn misuse(self) -> ! {
        drop(writeln!(std::io::stderr(), "{}", self.0));
        std::process::exit(2);
    }
}
