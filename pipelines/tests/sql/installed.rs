//! Clients that come from pip and from Maven, once per machine.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::support::shown;

const PSYCOPG: &str = "psycopg[binary]==3.3.9";
const DELTALAKE: &str = "deltalake==1.6.6";
const PYODBC: &str = "pyodbc==5.5.0";
const SQLALCHEMY: &str = "sqlalchemy==2.0.58";
const ASYNCPG: &str = "asyncpg==0.32.0";
/// How a reason ends that another try would not change.
const NOT_HERE: &str = "it may not be installed";
const JDBC: &str = "org.postgresql:postgresql:42.7.14";

pub(crate) fn run(command: &mut Command) -> Result<Output, String> {
    let program = command.get_program().display().to_string();
    let failed = |e: std::io::Error| format!("{program} cannot be run: {e}: {NOT_HERE}");
    command.stdin(Stdio::null()).output().map_err(failed)
}

pub(crate) fn done(command: &mut Command) -> Result<String, String> {
    let output = run(command)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(shown(&output))
}

/// Made once per machine: processes that come at the same time wait for one another, and the marker is written last.
fn installed(name: &str, by: impl Fn(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let home = env::var_os("HOME").ok_or("HOME is not set")?;
    let cache = Path::new(&home).join(".cache/thalweg/clients");
    let (folder, marker) = (cache.join(name), cache.join(format!("{name}.done")));
    let failed = |e: std::io::Error| format!("{}: {e}", cache.display());
    fs::create_dir_all(&cache).map_err(failed)?;
    let lock = cache.join(format!("{name}.lock"));
    let lock =
        File::options().create(true).truncate(false).write(true).open(lock).map_err(failed)?;
    lock.lock().map_err(failed)?;
    if !marker.exists() {
        let anew = || -> Result<(), String> {
            drop(fs::remove_dir_all(&folder));
            fs::create_dir_all(&folder).map_err(failed)?;
            by(&folder)
        };
        // A registry may fail once, or answer slowly.
        let again = |installed: Result<(), String>, seconds| {
            installed.or_else(|why| {
                if why.ends_with(NOT_HERE) {
                    return Err(why);
                }
                eprintln!("{name}: {why}: once more");
                std::thread::park_timeout(Duration::from_secs(seconds));
                anew()
            })
        };
        [5, 30].into_iter().fold(anew(), again)?;
        fs::write(&marker, "").map_err(failed)?;
    }
    Ok(folder)
}

pub(crate) fn python() -> Result<PathBuf, String> {
    // Another number for other packages: a machine has those of the number that it knows.
    let folder = installed("python-5", |folder| {
        done(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        let mut pip = Command::new(folder.join("bin/pip"));
        pip.args(["install", "-q", "--timeout", "60"]);
        done(pip.args([PSYCOPG, DELTALAKE, PYODBC, SQLALCHEMY, ASYNCPG])).map(drop)
    })?;
    Ok(folder.join("bin/python"))
}

pub(crate) fn jdbc() -> Result<PathBuf, String> {
    let version = JDBC.rsplit(':').next().unwrap_or_default();
    let jar = format!("postgresql-{version}.jar");
    let folder = installed(&format!("jdbc-{version}"), |folder| {
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "dependency:copy", "-Dmdep.useBaseVersion=true"]);
        maven.arg(format!("-Dartifact={JDBC}"));
        maven.arg(format!("-DoutputDirectory={}", folder.display())).current_dir(folder);
        done(&mut maven).map(drop)
    })?;
    Ok(folder.join(jar))
}
