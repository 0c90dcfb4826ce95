//! The jars of Apache Kafka, copied by Maven into a cache folder once per machine and version, or else those of its image.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Unavailable;

const POM: &str = include_str!("kafka-pom.xml");
const MAVEN_TIMEOUT: Duration = Duration::from_mins(10);
const LOG_TAIL_BYTES: usize = 2_000;
/// How a reason begins when a program cannot be run.
const NOT_RUN: &str = "could not run";
/// Before Maven is asked again.
const PAUSE: Duration = Duration::from_secs(10);
/// Stands in for `java` where Kafka comes from Docker. The container has the number of the process that it looks like from
/// here, by which `kafka_node.rs` sends it signals.
const DOCKER_JAVA: &str = r#"#!/bin/sh
tmp=${TMPDIR:-/tmp}
exec docker run --rm --name "thalweg-java-$$" --network host --user "$(id -u):$(id -g)" \
  -v "$tmp:$tmp" --entrypoint java IMAGE "$@"
"#;
/// Writes a script. A file that this process wrote itself could not be run while a program is starting on another thread
/// and still has it open for writing.
pub(super) const WRITE: &str = r#"printf '%s' "$2" >"$1" && chmod 755 "$1""#;
const IMAGE_CLASS_PATH: &str = "/opt/kafka/libs/*";

/// Where a JVM finds Kafka.
#[derive(Debug, Clone)]
pub(super) struct Jars {
    /// The `java` to run.
    pub(super) java: PathBuf,
    /// The class path, with the wildcard that the JVM expands.
    pub(super) class_path: OsString,
    /// The folder shared by all test processes of this user.
    pub(super) cache: PathBuf,
    /// Where commands are looked for, if not where this process looks for them.
    path: Option<OsString>,
}

impl Jars {
    /// Finds the jars, and copies them with Maven if this is the first time. Without Maven, those in Docker.
    ///
    /// Test processes that start at the same moment wait for one another on a lock file. The marker
    /// holds the pom that the jars were copied for, and is written last.
    pub(super) fn resolve() -> Result<Self, Unavailable> {
        let cache = cache_folder()?;
        fs::create_dir_all(&cache).map_err(|error| no_file("create", &cache, &error))?;
        let lib = cache.join("lib");
        let marker = cache.join("lib.done");
        let lock_path = cache.join("lib.lock");
        let lock = open_lock(&lock_path).map_err(|error| no_file("open", &lock_path, &error))?;
        lock.lock().map_err(|error| no_file("lock", &lock_path, &error))?;
        if fs::read_to_string(&marker).is_ok_and(|pom| pom == POM) {
            return Ok(Self::at(&lib, cache));
        }
        for stale in [&marker, &lib] {
            remove(stale).map_err(|error| no_file("remove", stale, &error))?;
        }
        if let Err(no_maven) = copy_with_maven(&cache, &lib) {
            let docker = Self::in_docker(cache, None);
            return docker.map_err(|none| Unavailable::because(format!("{no_maven}; {none}")));
        }
        fs::write(&marker, POM).map_err(|error| no_file("write", &marker, &error))?;
        Ok(Self::at(&lib, cache))
    }

    /// Those of Kafka's image, run by the Java in it. `docker` is looked for in `path`, if not where this process looks.
    pub(super) fn in_docker(cache: PathBuf, path: Option<OsString>) -> Result<Self, String> {
        let image = format!("apache/kafka:{}", version());
        let (java, class_path) = (cache.join("docker-java"), IMAGE_CLASS_PATH.into());
        let jars = Self { java, class_path, cache, path };
        let mut docker = jars.command("sh");
        docker.args(["-c", r#"docker image inspect "$1" >/dev/null || docker pull "$1""#, "sh"]);
        docker.arg(&image);
        run_bounded(docker, &jars.cache.join("docker.log"), MAVEN_TIMEOUT)
            .map_err(|reason| format!("nor has Docker {image}: {reason}"))?;
        let (java, script) = (&jars.java, DOCKER_JAVA.replace("IMAGE", &image));
        // Not again while another process may be running it.
        if fs::read_to_string(java).ok().as_deref() != Some(script.as_str()) {
            let mut shell = jars.command("sh");
            shell.args(["-c", WRITE, "sh"]).arg(java).arg(script);
            run_bounded(shell, &jars.cache.join("docker.log"), MAVEN_TIMEOUT)
                .map_err(|reason| format!("could not write {}: {reason}", java.display()))?;
        }
        Ok(jars)
    }

    /// `program`, to be looked for as these jars are.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.envs(self.path.iter().map(|path| ("PATH", path)));
        command
    }

    fn at(lib: &Path, cache: PathBuf) -> Self {
        let java = env::var_os("JAVA_HOME")
            .map(|home| Path::new(&home).join("bin").join("java"))
            .filter(|java| java.is_file())
            .unwrap_or_else(|| PathBuf::from("java"));
        Self { java, class_path: lib.join("*").into_os_string(), cache, path: None }
    }
}

/// `$THALWEG_KAFKA_CACHE`, or a folder of the user's cache named by Kafka's version.
fn cache_folder() -> Result<PathBuf, Unavailable> {
    if let Some(folder) = env::var_os("THALWEG_KAFKA_CACHE").filter(|folder| !folder.is_empty()) {
        return std::path::absolute(&folder)
            .map_err(|error| no_file("resolve", Path::new(&folder), &error));
    }
    let home = env::var_os("HOME")
        .ok_or_else(|| Unavailable::because("neither THALWEG_KAFKA_CACHE nor HOME is set"))?;
    Ok(Path::new(&home).join(".cache/thalweg").join(format!("kafka-{}", version())))
}

fn version() -> &'static str {
    POM.split_once("<kafka.version>")
        .and_then(|(_, rest)| rest.split_once("</kafka.version>"))
        .map_or("unknown", |(version, _)| version)
}

fn copy_with_maven(cache: &Path, lib: &Path) -> Result<(), String> {
    let pom = cache.join("pom.xml");
    fs::write(&pom, POM).map_err(|error| format!("could not write {}: {error}", pom.display()))?;
    let copy = || {
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-f"]).arg(&pom);
        maven.args(["dependency:copy-dependencies", "-DincludeScope=runtime"]);
        maven.arg(format!("-DoutputDirectory={}", lib.display())).current_dir(cache);
        run_bounded(maven, &cache.join("maven.log"), MAVEN_TIMEOUT)
    };
    // A repository may fail once. A machine without Maven need not be asked again.
    let copied = copy().or_else(|reason| {
        if reason.starts_with(NOT_RUN) {
            return Err(reason);
        }
        thread::sleep(PAUSE);
        copy()
    });
    copied.map_err(|reason| format!("Maven found no Kafka jars: {reason}"))
}

/// Runs a command to its end, its output in `log`; the reason of a failure has the log's end.
pub(super) fn run_bounded(
    mut command: Command,
    log: &Path,
    timeout: Duration,
) -> Result<(), String> {
    let program = command.get_program().display().to_string();
    let fault = |error: io::Error| format!("{NOT_RUN} {program}: {error}");
    let output = File::options().create(true).append(true).open(log).map_err(fault)?;
    let errors = output.try_clone().map_err(fault)?;
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    let mut child = command.spawn().map_err(fault)?;
    let deadline = Instant::now() + timeout;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(fault)? {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill().and_then(|()| child.wait()).map_err(fault)?;
            return Err(format!("{program} took longer than {timeout:?}"));
        }
        thread::sleep(Duration::from_millis(20));
    };
    if status.success() {
        return Ok(());
    }
    Err(format!("{program} ended with {status}:\n{}", tail(log)))
}

/// The end of a log file, or nothing if it cannot be read.
pub(super) fn tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned()
}

/// Opens a file to lock, without ever emptying it.
pub(super) fn open_lock(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(path)
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn no_file(what: &str, path: &Path, error: &io::Error) -> Unavailable {
    Unavailable::because(format!("could not {what} {}: {error}", path.display()))
}
