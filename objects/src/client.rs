//! Clients of object stores: their settings come from the environment, their patience from us.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use thalweg_core::{Error, Result};

use crate::place::{Remote, Service};

/// How object stores are reached: variables, and how long a client waits.
#[derive(Clone)]
pub struct Access {
    /// Credentials, region, endpoint: the names that the services' own tools use.
    variables: Arc<BTreeMap<String, String>>,
    request_timeout: Duration,
    retry_for: Duration,
}

impl Access {
    /// The process's environment variables. An answer must come within 30 seconds, and a request that fails is tried
    /// again for a minute with growing pauses, so whatever hangs ends after at most a minute and a half.
    pub fn from_environment() -> Self {
        let text = |text: std::ffi::OsString| text.into_string().ok();
        Self::new(std::env::vars_os().filter_map(|(name, value)| text(name).zip(text(value))))
    }

    /// As [`Access::from_environment`], with these variables alone.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            variables: Arc::new(variables.into_iter().collect()),
            request_timeout: Duration::from_secs(30),
            retry_for: Duration::from_mins(1),
        }
    }

    /// How long one answer may take, its body included. When it does not come the outcome is unclear: whoever asked
    /// reads, then decides (A11).
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// For how long a request that failed is tried again; zero: not at all.
    #[must_use]
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.retry_for = time;
        self
    }
}

/// Values of variables are secrets.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("variables", &self.variables.len())
            .field("request_timeout", &self.request_timeout)
            .field("retry_for", &self.retry_for)
            .finish()
    }
}

impl Remote {
    /// A client of the whole bucket or container; this place is below [`Remote::prefix`]. Nothing is sent yet.
    ///
    /// A client belongs to the tokio runtime that it is first used on: do not share one between two.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`]: this build lacks the service's cargo feature, or a variable is
    /// missing or wrong.
    pub fn open(&self, access: &Access) -> Result<Arc<dyn ObjectStore>> {
        let built = built(self, access).ok_or_else(|| unbuilt(self))?;
        // The builders' texts can quote the values of variables.
        built.map_err(|_| {
            let variables = match self.service() {
                Some(Service::S3) => "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION",
                Some(Service::Azure) => {
                    "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or their alternatives"
                }
                _ => "GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT",
            };
            Error::config(format!("no client for {self} can be made: check {variables}"))
        })
    }
}

/// `None`: this build does not speak to the service.
fn built(remote: &Remote, access: &Access) -> Option<object_store::Result<Arc<dyn ObjectStore>>> {
    match (remote.service()?, access) {
        #[cfg(feature = "s3")]
        (Service::S3, access) => Some(cloud::s3(remote, access)),
        #[cfg(feature = "azure")]
        (Service::Azure, access) => Some(cloud::azure(remote, access)),
        #[cfg(feature = "gcs")]
        (Service::Gcs, access) => Some(cloud::gcs(remote, access)),
        #[allow(unreachable_patterns, reason = "it is reached where a feature is missing")]
        _ => None,
    }
}

fn unbuilt(remote: &Remote) -> Error {
    let feature = match remote.service() {
        Some(Service::S3) => "s3",
        Some(Service::Azure) => "azure",
        _ => "gcs",
    };
    Error::config(format!("{}:// needs a build with feature `{feature}`", remote.url().scheme()))
}

#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
mod cloud {
    use std::str::FromStr;

    use object_store::{BackoffConfig, ClientConfigKey, RetryConfig};

    use super::{Access, Arc, Duration, ObjectStore, Remote};

    type Built = object_store::Result<Arc<dyn ObjectStore>>;

    const CONNECT: Duration = Duration::from_secs(5);

    fn retries(access: &Access) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(10),
                base: 2.0,
            },
            max_retries: if access.retry_for.is_zero() { 0 } else { 10 },
            retry_timeout: access.retry_for,
        }
    }

    /// What the variables say, then our timeouts.
    fn settings<K: FromStr>(
        access: &Access,
        prefix: &str,
        client: fn(ClientConfigKey) -> K,
    ) -> Vec<(K, String)> {
        let ours = |(name, value): (&String, &String)| {
            let key = name.starts_with(prefix).then(|| name.to_ascii_lowercase().parse().ok());
            Some((key??, value.clone()))
        };
        let shown = |time: Duration| format!("{}ms", time.as_millis());
        let connect = CONNECT.min(access.request_timeout);
        let mut all: Vec<(K, String)> = access.variables.iter().filter_map(ours).collect();
        // The clients of S3 and Azure know this variable by themselves.
        if let Some(allow) = access.variables.get(&format!("{prefix}ALLOW_HTTP")) {
            all.push((client(ClientConfigKey::AllowHttp), allow.clone()));
        }
        all.push((client(ClientConfigKey::Timeout), shown(access.request_timeout)));
        all.push((client(ClientConfigKey::ConnectTimeout), shown(connect)));
        all
    }

    #[cfg(feature = "s3")]
    pub(super) fn s3(remote: &Remote, access: &Access) -> Built {
        use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
        let builder =
            AmazonS3Builder::new().with_url(remote.url().as_str()).with_retry(retries(access));
        let builder = settings(access, "AWS_", AmazonS3ConfigKey::Client)
            .into_iter()
            .fold(builder, |builder, (key, value)| builder.with_config(key, value));
        Ok(Arc::new(builder.build()?))
    }

    #[cfg(feature = "azure")]
    pub(super) fn azure(remote: &Remote, access: &Access) -> Built {
        use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
        let mut builder = MicrosoftAzureBuilder::new()
            .with_url(remote.url().as_str())
            .with_retry(retries(access));
        // Managed identities of app services.
        if let Some(endpoint) = access.variables.get("IDENTITY_ENDPOINT") {
            builder = builder.with_msi_endpoint(endpoint);
        }
        let builder = settings(access, "AZURE_", AzureConfigKey::Client)
            .into_iter()
            .fold(builder, |builder, (key, value)| builder.with_config(key, value));
        Ok(Arc::new(builder.build()?))
    }

    #[cfg(feature = "gcs")]
    pub(super) fn gcs(remote: &Remote, access: &Access) -> Built {
        use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
        let builder = GoogleCloudStorageBuilder::new()
            .with_url(remote.url().as_str())
            .with_retry(retries(access));
        let builder = settings(access, "GOOGLE_", GoogleConfigKey::Client)
            .into_iter()
            .fold(builder, |builder, (key, value)| builder.with_config(key, value));
        Ok(Arc::new(builder.build()?))
    }
}
