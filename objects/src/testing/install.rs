//! Emulators and other programs for tests from the package registries, once per machine and version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const MOTO: &str = "5.2.5";
const DELTALAKE: &str = "1.6.6";
const PYARROW: &str = "26.0.1";
const AZURITE: &str = "3.35.0";
const PLAYWRIGHT: &str = "1.65.1";
const AXE: &str = "4.14.1";
const LIMIT: Duration = Duration::from_mins(20);
/// How often something is installed until that goes well, and the pause before it is tried again: a registry may fail once.
const TRIES: u32 = 3;
/// How a reason ends that another try would not change.
const NOT_HERE: &str = "it may not be installed";
const PAUSE: Duration = Duration::from_secs(10);

/// `moto_server`.
pub(super) fn moto() -> Result<PathBuf, String> {
    let moto = format!("moto[s3]=={MOTO}");
    let folder = python_environment(&format!("moto-{MOTO}"), &[&moto, "flask", "flask-cors"])?;
    Ok(folder.join("bin/moto_server"))
}

/// A Python with another library for Delta Lake than ours, `deltalake`, and `pyarrow`, by which it gives rows.
///
/// # Errors
/// It cannot be installed here; one line says why.
pub fn deltalake() -> Result<PathBuf, String> {
    let packages = [format!("deltalake=={DELTALAKE}"), format!("pyarrow=={PYARROW}")];
    let name = format!("deltalake-{DELTALAKE}-pyarrow-{PYARROW}");
    let folder = python_environment(&name, &packages.each_ref().map(String::as_str))?;
    Ok(folder.join("bin/python"))
}

/// A folder `name` with a virtual environment of Python that has these packages.
///
/// # Errors
/// It cannot be installed here; one line says why.
pub fn python_environment(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    install(name, |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        let mut pip = Command::new(folder.join("bin/pip"));
        run(pip.args(["install", "-q", "--timeout", "60"]).args(packages))
    })
}

/// `azurite-blob`.
pub(super) fn azurite() -> Result<PathBuf, String> {
    let folder = install(&format!("azurite-{AZURITE}"), |folder| {
        let azurite = format!("azurite@{AZURITE}");
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]);
        run(npm.arg(folder).arg(azurite))
    })?;
    Ok(folder.join("node_modules/.bin/azurite-blob"))
}

/// Folder of `playwright-core` and `axe-core`.
pub(super) fn playwright() -> Result<PathBuf, String> {
    let folder = install(&format!("playwright-{PLAYWRIGHT}-axe-{AXE}"), |folder| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(folder);
        run(npm.args([format!("playwright-core@{PLAYWRIGHT}"), format!("axe-core@{AXE}")]))
    })?;
    Ok(folder.join("node_modules"))
}

/// The system's Chromium, where one may install it.
pub(super) fn chromium() -> Result<(), String> {
    install("chromium", |_| {
        let apt = |words: &[&str]| {
            let options = ["-qq", "-o", "Acquire::Retries=5", "-o", "DPkg::Lock::Timeout=600"];
            run(Command::new("apt-get").args(options).args(words))
        };
        apt(&["update"])?;
        apt(&["install", "-y", "chromium"])
    })
    .map(drop)
}

/// Processes that come at the same time wait for one another; the marker is written last.
fn install(name: &str, by: impl Fn(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let cache = cache()?;
    let (folder, marker) = (cache.join(name), cache.join(format!("{name}.done")));
    let failed = |e: std::io::Error| format!("{}: {e}", cache.display());
    fs::create_dir_all(&cache).map_err(failed)?;
    let lock = fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(cache.join(format!("{name}.lock")))
        .map_err(failed)?;
    lock.lock().map_err(failed)?;
    if marker.exists() {
        return Ok(folder);
    }
    let anew = || -> Result<(), String> {
        // Half of an earlier try may be there.
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).map_err(failed)?;
        by(&folder)
    };
    let again = |installed: Result<(), String>, _| {
        installed.or_else(|why| {
            if why.ends_with(NOT_HERE) {
                return Err(why);
            }
            eprintln!("{name}: {why}: once more");
            std::thread::sleep(PAUSE);
            anew()
        })
    };
    (1..TRIES).fold(anew(), again)?;
    fs::write(&marker, "").map_err(failed)?;
    Ok(folder)
}

pub(super) fn cache() -> Result<PathBuf, String> {
    let named = std::env::var_os("THALWEG_EMULATORS_CACHE").filter(|folder| !folder.is_empty());
    let home = || std::env::var_os("HOME").map(|h| Path::new(&h).join(".cache/thalweg/emulators"));
    named.map(PathBuf::from).or_else(home).ok_or_else(|| "HOME is not set".to_owned())
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().display().to_string();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|e| format!("{program} cannot be run: {e}: {NOT_HERE}"))?;
    let deadline = Instant::now() + LIMIT;
    loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("{program} ended with {status}")),
            None if Instant::now() > deadline => {
                drop(child.kill());
                drop(child.wait());
                return Err(format!("{program} took longer than {LIMIT:?}"));
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
