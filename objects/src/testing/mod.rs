//! Test support: emulators of object stores that start and stop with a test, a proxy that misbehaves, and a browser.
//!
//! | Store | Emulator | Installed by |
//! |---|---|---|
//! | S3 | moto, behind [`Proxy`], which makes its conditional put atomic | `pip` into a virtual environment |
//! | Azure Blob | Azurite | `npm` |
//! | GCS | moto behind [`Proxy`], which translates `x-goog-if-generation-match: 0` | as S3 |
//!
//! No emulator of GCS answers its XML interface completely: fake-gcs-server refuses plain PUTs, gcp-storage-emulator
//! does not list. That interface is S3's but for the header of the condition, so moto answers it; the client is the
//! real one of GCS.
//!
//! Environment: `THALWEG_REQUIRE_EMULATORS=1` fails a test rather than skip it when an emulator is missing;
//! `THALWEG_EMULATORS_CACHE` is where they are installed, by default `~/.cache/thalweg/emulators`.

mod browser;
mod install;
mod process;
mod proxy;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::Access;
use crate::place::{Place, Remote};
pub use browser::Browser;
pub use install::python_environment;
use process::Process;
pub use proxy::{Fault, Proxy};

/// Bucket or container in which all tests work, below prefixes of their own.
const BUCKET: &str = "thalweg-tests";

/// A running emulator.
#[derive(Debug)]
pub struct Emulator {
    scheme: &'static str,
    variables: BTreeMap<String, String>,
    proxy: Option<Proxy>,
    _process: Process,
}

impl Emulator {
    /// An S3, or `None` with a loud word.
    pub fn s3() -> Option<Self> {
        or_skip("S3", moto().map(|(process, proxy)| Self::of_s3(process, proxy)))
    }

    /// A GCS as far as its XML interface goes, or `None` with a loud word.
    pub fn gcs() -> Option<Self> {
        let started = moto().map(|(process, proxy)| {
            // The way of fake-gcs-server, which the client knows: no token is asked for.
            let account = format!(
                r#"{{"client_email":"","private_key":"","private_key_id":"","disable_oauth":true,"gcs_base_url":"{}"}}"#,
                proxy.endpoint()
            );
            let variables = named([
                ("GOOGLE_SERVICE_ACCOUNT_KEY", account),
                ("GOOGLE_ALLOW_HTTP", "true".to_owned()),
            ]);
            Self { scheme: "gs", variables, proxy: Some(proxy), _process: process }
        });
        or_skip("GCS", started)
    }

    /// An Azure Blob, or `None` with a loud word.
    pub fn azure() -> Option<Self> {
        or_skip("Azure", azurite())
    }

    fn of_s3(process: Process, proxy: Proxy) -> Self {
        let variables = named([
            ("AWS_ENDPOINT_URL", proxy.endpoint()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]);
        Self { scheme: "s3", variables, proxy: Some(proxy), _process: process }
    }

    /// A place that no other test uses.
    pub fn place(&self, name: &str) -> Remote {
        let text = format!("{}://{BUCKET}/{name}-{}", self.scheme, uuid::Uuid::new_v4().simple());
        match text.parse().unwrap() {
            Place::Remote(remote) => remote,
            Place::Folder(_) => unreachable!("it is a URL"),
        }
    }

    /// Environment variables for processes that use it.
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// How this process reaches it: short-tempered, so that a test need not wait for a minute.
    pub fn access(&self) -> Access {
        Access::new(self.variables.clone())
            .request_timeout(Duration::from_secs(5))
            .retry_for(Duration::from_secs(10))
    }

    /// The proxy before it; Azurite has none.
    pub fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("this emulator has a proxy")
    }
}

fn named<const N: usize>(variables: [(&str, String); N]) -> BTreeMap<String, String> {
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// How often a server is started until it answers.
const STARTS: u32 = 3;

/// A port that was free a moment ago may be another's by the time the server listens: then a new one is tried.
fn moto() -> Result<(Process, Proxy), String> {
    let program = install::moto()?;
    (1..STARTS).fold(start_moto(&program), |started, _| started.or_else(|_| start_moto(&program)))
}

fn start_moto(program: &std::path::Path) -> Result<(Process, Proxy), String> {
    let port = process::free_port()?;
    let address = format!("127.0.0.1:{port}");
    let process =
        Process::start(program, &["-H", "127.0.0.1", "-p", &port.to_string()], &[], &address)?;
    let request = format!("PUT /{BUCKET} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = process::ask(&address, request.as_bytes())?;
    if !answer.starts_with(b"HTTP/1.1 200") {
        return Err("moto made no bucket".to_owned());
    }
    Ok((process, Proxy::start(&address)))
}

/// Azurite's account, which everybody knows.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Makes the container: the request must be signed, and Node is there anyway.
const MAKE_CONTAINER: &str = r"
const [port, account, key, name] = process.argv.slice(1);
const date = new Date().toUTCString(), version = '2021-12-02';
const text = ['PUT', '', '', '', '', '', '', '', '', '', '', '',
  'x-ms-date:' + date, 'x-ms-version:' + version,
  '/' + account + '/' + account + '/' + name, 'restype:container'].join('\n');
const mac = require('crypto').createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64');
require('http').request({ port, host: '127.0.0.1', method: 'PUT', path: '/' + account + '/' + name + '?restype=container',
  headers: { 'x-ms-date': date, 'x-ms-version': version, 'content-length': 0,
    authorization: 'SharedKey ' + account + ':' + mac } },
  answer => process.exit(answer.statusCode === 201 ? 0 : 1)).end();
";

fn azurite() -> Result<Emulator, String> {
    let program = install::azurite()?;
    let port = process::free_port()?.to_string();
    let address = format!("127.0.0.1:{port}");
    let arguments =
        ["--silent", "--skipApiVersionCheck", "--inMemoryPersistence", "--blobPort", &port];
    let process = Process::start(&program, &arguments, &[], &address)?;
    let made = std::process::Command::new("node")
        .args(["-e", MAKE_CONTAINER, &port, ACCOUNT, KEY, BUCKET])
        .status()
        .map_err(|e| format!("node cannot be run: {e}"))?;
    if !made.success() {
        return Err("Azurite made no container".to_owned());
    }
    let variables = named([
        ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.to_owned()),
        ("AZURE_STORAGE_ACCOUNT_KEY", KEY.to_owned()),
        ("AZURE_STORAGE_ENDPOINT", format!("http://{address}/{ACCOUNT}")),
        ("AZURE_ALLOW_HTTP", "true".to_owned()),
    ]);
    Ok(Emulator { scheme: "az", variables, proxy: None, _process: process })
}

fn or_skip<T>(name: &str, started: Result<T, String>) -> Option<T> {
    match started {
        Ok(started) => Some(started),
        Err(why) if std::env::var_os("THALWEG_REQUIRE_EMULATORS").is_some_and(|v| v == "1") => {
            panic!("no {name} emulator, though THALWEG_REQUIRE_EMULATORS=1: {why}")
        }
        Err(why) => {
            eprintln!("\n==== SKIPPED: no {name} emulator: {why} ====\n");
            None
        }
    }
}
