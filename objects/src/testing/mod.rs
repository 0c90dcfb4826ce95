//! Test support: emulators of object stores that start and stop with a test, a proxy that misbehaves, and a browser.
//!
//! | Store | Emulator, behind [`Proxy`] | Installed by | Who makes its conditional put atomic |
//! |---|---|---|---|
//! | S3 | moto | `pip` into a virtual environment | the proxy: one write at a time |
//! | Azure Blob, ADLS | Azurite | `npm` | Azurite: it looks and stores in one step of its only thread |
//! | GCS | moto; the proxy translates `x-goog-if-generation-match: 0` | as S3 | as S3 |
//!
//! No emulator of GCS answers its XML interface completely: fake-gcs-server refuses plain PUTs, gcp-storage-emulator
//! does not list. That interface is S3's but for the header of the condition, so moto answers it; the client is the
//! real one of GCS. Nor does any emulator answer the names of ADLS (`dfs.core.windows.net`): an endpoint that is set
//! takes the place of the host in the URL, and the requests are those of Azure Blob, as they are to the service.
//!
//! Environment: `THALWEG_REQUIRE_EMULATORS=1` fails a test rather than skip it when an emulator, or what else it has from
//! `pip`, is missing;
//! `THALWEG_EMULATORS_CACHE` is where they are installed, by default `~/.cache/thalweg/emulators`.

mod browser;
mod install;
mod process;
mod proxy;

use std::collections::BTreeMap;
use std::path::Path;

use crate::client::Access;
use crate::place::{Place, Remote};
pub use browser::Browser;
pub use install::{deltalake, python_environment};
use process::Process;
use proxy::Upstream;
pub use proxy::{Fault, Proxy};

/// Bucket or container in which all tests work, below prefixes of their own.
const BUCKET: &str = "thalweg-tests";

/// A kind of store that can be emulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// `s3://`
    S3,
    /// `az://`, by the account's key, which signs the headers of a request.
    Azure,
    /// `abfss://container@account.dfs.core.windows.net`, by a SAS of the container, which signs no request.
    Adls,
    /// `gs://`
    Gcs,
}

impl Store {
    /// One of each service.
    pub const SERVICES: [Self; 3] = [Self::S3, Self::Azure, Self::Gcs];
    /// One of each service, and the other way to Azure.
    pub const ALL: [Self; 4] = [Self::S3, Self::Azure, Self::Adls, Self::Gcs];
}

/// A running emulator.
#[derive(Debug)]
pub struct Emulator {
    /// Scheme and bucket or container.
    root: String,
    variables: BTreeMap<String, String>,
    proxy: Proxy,
    _process: Process,
}

impl Emulator {
    /// An emulator of `store`, or `None` with a loud word.
    pub fn start(store: Store) -> Option<Self> {
        match Self::of(store) {
            Ok(started) => Some(started),
            Err(why) if std::env::var_os("THALWEG_REQUIRE_EMULATORS").is_some_and(|v| v == "1") => {
                panic!("no {store:?} emulator, though THALWEG_REQUIRE_EMULATORS=1: {why}")
            }
            Err(why) => {
                eprintln!("\n==== SKIPPED: no {store:?} emulator: {why} ====\n");
                None
            }
        }
    }

    /// An S3, or `None` with a loud word.
    pub fn s3() -> Option<Self> {
        Self::start(Store::S3)
    }

    /// Runs `test` on each of these stores, side by side in threads with the stores' names. One that cannot be emulated
    /// here is left out with a loud word.
    pub fn on_each(stores: &[Store], test: impl Fn(&Self) + Sync) {
        let test = &test;
        std::thread::scope(|scope| {
            for &store in stores {
                let run = move || {
                    if let Some(emulator) = Self::start(store) {
                        test(&emulator);
                    }
                };
                let thread = std::thread::Builder::new().name(format!("{store:?}"));
                thread.spawn_scoped(scope, run).expect("a thread");
            }
        });
    }

    fn of(store: Store) -> Result<Self, String> {
        let (process, proxy) = match store {
            Store::S3 | Store::Gcs => moto()?,
            Store::Azure | Store::Adls => azurite()?,
        };
        let endpoint = proxy.endpoint();
        let (root, variables) = match store {
            Store::S3 => (format!("s3://{BUCKET}"), of_s3(endpoint)),
            Store::Azure => (
                format!("az://{BUCKET}"),
                of_azure(
                    &endpoint,
                    [("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT), ("AZURE_STORAGE_ACCOUNT_KEY", KEY)],
                ),
            ),
            Store::Adls => (
                format!("abfss://{BUCKET}@{ACCOUNT}.dfs.core.windows.net"),
                of_azure(&endpoint, [("AZURE_STORAGE_SAS_KEY", SAS)]),
            ),
            Store::Gcs => (format!("gs://{BUCKET}"), of_gcs(&endpoint)),
        };
        Ok(Self { root, variables, proxy, _process: process })
    }

    /// A place that no other test uses.
    pub fn place(&self, name: &str) -> Remote {
        let text = format!("{}/{name}-{}", self.root, uuid::Uuid::new_v4().simple());
        match text.parse().unwrap() {
            Place::Remote(remote) => remote,
            Place::Folder(_) => unreachable!("it is a URL"),
        }
    }

    /// Environment variables for processes that use it.
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// How this process reaches it, as patiently as a job does: several emulators may share one busy machine.
    pub fn access(&self) -> Access {
        Access::new(self.variables.clone())
    }

    /// The proxy before it.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }
}

fn of_s3(endpoint: String) -> BTreeMap<String, String> {
    named([
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
    ])
}

fn of_gcs(endpoint: &str) -> BTreeMap<String, String> {
    // The way of fake-gcs-server, which the client knows: no token is asked for.
    let account = format!(
        r#"{{"client_email":"","private_key":"","private_key_id":"","disable_oauth":true,"gcs_base_url":"{endpoint}"}}"#
    );
    named([("GOOGLE_SERVICE_ACCOUNT_KEY", account), ("GOOGLE_ALLOW_HTTP", "true".to_owned())])
}

fn of_azure<const N: usize>(
    endpoint: &str,
    credentials: [(&str, &str); N],
) -> BTreeMap<String, String> {
    let mut variables = named(credentials.map(|(name, value)| (name, value.to_owned())));
    variables.extend(named([
        ("AZURE_STORAGE_ENDPOINT", format!("{endpoint}/{ACCOUNT}")),
        ("AZURE_ALLOW_HTTP", "true".to_owned()),
    ]));
    variables
}

fn named<const N: usize>(variables: [(&str, String); N]) -> BTreeMap<String, String> {
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// How often a server is started until it answers.
const STARTS: u32 = 3;

/// A port that was free a moment ago may be another's by the time the server listens: then a new one is tried.
fn tried(start: impl Fn() -> Result<(Process, Proxy), String>) -> Result<(Process, Proxy), String> {
    (1..STARTS).fold(start(), |started, _| started.or_else(|_| start()))
}

fn moto() -> Result<(Process, Proxy), String> {
    let program = install::moto()?;
    tried(|| start_moto(&program))
}

fn start_moto(program: &Path) -> Result<(Process, Proxy), String> {
    let port = process::free_port()?;
    let address = format!("127.0.0.1:{port}");
    let process =
        Process::start(program, &["-H", "127.0.0.1", "-p", &port.to_string()], &[], &address)?;
    let request = format!("PUT /{BUCKET} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = process::ask(&address, request.as_bytes())?;
    if !answer.starts_with(b"HTTP/1.1 200") {
        return Err("moto made no bucket".to_owned());
    }
    Ok((process, Proxy::start(&address, Upstream::Moto)))
}

/// Azurite's account, which everybody knows.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Lets its bearer do anything in [`BUCKET`] of [`ACCOUNT`] until 2099: its other values, signed by [`KEY`]. A SAS of the
/// account would not do: Azurite has no batches of deletions for it.
const SAS: &str = "sp=racwdl&se=2099-01-01T00%3A00%3A00Z&sv=2021-12-02&sr=c\
    &sig=5ESQksXOIUKaKnKy%2BkDxJkDtaBCJGwzLVAAoT%2BcLuuM%3D";

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

fn azurite() -> Result<(Process, Proxy), String> {
    let program = install::azurite()?;
    tried(|| start_azurite(&program))
}

fn start_azurite(program: &Path) -> Result<(Process, Proxy), String> {
    let port = process::free_port()?.to_string();
    let address = format!("127.0.0.1:{port}");
    let arguments =
        ["--silent", "--skipApiVersionCheck", "--inMemoryPersistence", "--blobPort", &port];
    let process = Process::start(program, &arguments, &[], &address)?;
    let made = std::process::Command::new("node")
        .args(["-e", MAKE_CONTAINER, &port, ACCOUNT, KEY, BUCKET])
        .status()
        .map_err(|e| format!("node cannot be run: {e}"))?;
    if !made.success() {
        return Err("Azurite made no container".to_owned());
    }
    Ok((process, Proxy::start(&address, Upstream::Azurite)))
}
