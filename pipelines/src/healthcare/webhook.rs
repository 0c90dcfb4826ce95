//! Tells another system that something is wrong: one JSON object by POST, tried a few times.
//!
//! The address may hold a secret, as those of chat systems do, so no error and no log shows it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg_core::{Error, Result, error};

/// The environment variable that comes before the configuration file.
const VARIABLE: &str = "THALWEG_WEBHOOK_URL";

/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Where to: `https`, or `http` to this machine.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebhookUrl(String);

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookUrl(***)")
    }
}

impl From<WebhookUrl> for String {
    fn from(url: WebhookUrl) -> Self {
        url.0
    }
}

impl TryFrom<String> for WebhookUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let refused = "a webhook must be an https:// address, or http:// on this machine";
        let url = reqwest::Url::parse(&text).map_err(|_| refused)?;
        let is_here = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
        match url.scheme() {
            "https" => Ok(Self(text)),
            "http" if is_here => Ok(Self(text)),
            _ => Err(refused),
        }
    }
}

impl WebhookUrl {
    /// From the environment, else as configured.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] for an address that is none.
    pub(crate) fn find(configured: Option<&Self>) -> Result<Option<Self>> {
        match std::env::var(VARIABLE) {
            Ok(text) if !text.is_empty() => Self::try_from(text)
                .map(Some)
                .map_err(|why| Error::config(format!("environment variable {VARIABLE}: {why}"))),
            _ => Ok(configured.cloned()),
        }
    }

    /// Sends `body`, up to `attempts` times. Blocking.
    ///
    /// # Errors
    /// Nobody took it.
    pub(super) fn send(&self, body: &serde_json::Value, attempts: u32) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| error::io("start a thread for the webhook", e))?;
        runtime.block_on(self.post(body, attempts))
    }

    /// The same for who must not be blocked.
    ///
    /// # Errors
    /// Nobody took it.
    pub(super) async fn post(&self, body: &serde_json::Value, attempts: u32) -> Result<()> {
        let body = body.to_string();
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none());
        // Nothing of this machine is asked for through a proxy.
        let is_here = self.0.starts_with("http:");
        let client = if is_here { client.no_proxy() } else { client };
        let client =
            client.build().map_err(|_| Error::config("a client for the webhook cannot be made"))?;
        let mut why = String::new();
        for attempt in 0..attempts.max(1) {
            if attempt > 0 {
                tokio::time::sleep(FIRST_PAUSE * 2_u32.pow((attempt - 1).min(6))).await;
            }
            let post = client.post(&self.0).header("content-type", "application/json");
            match post.body(body.clone()).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => why = format!("it answered {}", answer.status().as_u16()),
                Err(problem) if problem.is_timeout() => "it did not answer".clone_into(&mut why),
                Err(_) => "it cannot be reached".clone_into(&mut why),
            }
        }
        Err(Error::transient(format!("the webhook did not take the message: {why}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_must_be_safe_and_is_never_shown() {
        let url = |text: &str| WebhookUrl::try_from(text.to_owned());
        for good in
            ["https://hooks.example.org/secret", "http://127.0.0.1:9/x", "http://localhost/"]
        {
            let shown = format!("{:?}", url(good).unwrap());
            assert!(!shown.contains("secret"), "{shown}");
        }
        for bad in ["", "hooks.example.org", "http://hooks.example.org/x", "ftp://127.0.0.1/"] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nobody_there_is_an_error_without_the_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let url = WebhookUrl::try_from(format!("http://{address}/secret")).unwrap();
        let error = url.send(&serde_json::json!({}), 1).unwrap_err();
        let shown = error::chain(&error);
        assert!(shown.contains("cannot be reached") && !shown.contains("secret"), "{shown}");
    }
}
