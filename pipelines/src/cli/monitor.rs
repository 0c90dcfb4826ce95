//! `healthcare monitor`.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use thalweg_core::time::Clock;
use thalweg_core::{Error, error};
use thalweg_runtime::SystemClock;

use super::outcome::{Failure, Outcome, end, tell, usage};
use super::{DataArgs, input};
use crate::healthcare::config::HealthcareConfig;
use crate::healthcare::daily::check::{Check, Status};
use crate::healthcare::monitor::{self, WebhookUrl};

/// Which job.
#[derive(Debug, Clone, Args)]
pub(super) struct MonitorArgs {
    #[command(flatten)]
    data: DataArgs,

    /// Kafka brokers that the job reads, to ask for its lag [default: `kafka.bootstrap_servers`]
    #[arg(long, value_name = "H:P")]
    bootstrap_servers: Option<String>,

    /// Kafka topic that the job reads, which its newest checkpoint tells; another one is refused
    #[arg(long, value_name = "T")]
    topic: Option<String>,
}

/// Looks at the job once. The last line of standard output is one JSON object.
pub(super) fn execute(args: &MonitorArgs) -> ExitCode {
    end("monitor", run(args))
}

fn run(args: &MonitorArgs) -> Result<(Value, Outcome), Failure> {
    let mut config = args.data.load_config()?;
    // Not first when there is something to tell.
    WebhookUrl::find(config.monitor.webhook.as_ref()).map_err(usage)?;
    if let Some(servers) = &args.bootstrap_servers {
        config.kafka.bootstrap_servers = Some(servers.clone());
    }
    if let Some(topic) = &args.topic {
        topic.clone_into(&mut config.kafka.topic);
    }
    match look(args, &mut config) {
        Ok(checks) => Ok(judged(&config, &checks)),
        // That nothing can be seen is the worst news of all.
        Err(failure) => {
            let why = error::chain(failure.error()).replace('\n', " ");
            if let Err(untold) = monitor::tell(&config.monitor, &[], Some(&why)) {
                tell(&format!("warning: {}", error::chain(&untold)));
            }
            Err(failure)
        }
    }
}

fn look(args: &MonitorArgs, config: &mut HealthcareConfig) -> Result<Vec<Check>, Failure> {
    let checkpoints = args.data.checkpoints_read_only()?;
    let newest = monitor::newest(checkpoints.as_ref())?;
    if let Some(read) = monitor::topic(&newest) {
        // The ends of another topic would say nothing about this job.
        if let Some(given) = args.topic.as_ref().filter(|given| *given != read) {
            return Err(Failure::Usage(Error::config(format!(
                "the job reads topic `{read}`, not `{given}`: leave out --topic"
            ))));
        }
        read.clone_into(&mut config.kafka.topic);
    }
    let brokers = config.kafka.bootstrap_servers.is_some();
    let source = brokers.then(|| input::kafka(config, input::format(config))).transpose()?;
    let now = SystemClock::default().now_micros();
    let data = &args.data.data_dir;
    let seen = monitor::look(data, &newest, source.as_deref(), &config.time, now)?;
    Ok(monitor::judge(&seen, &config.monitor))
}

fn judged(config: &HealthcareConfig, checks: &[Check]) -> (Value, Outcome) {
    for check in checks {
        let status = check.status.name();
        tell(&format!("{status} {}: {}; expected {}", check.name, check.observed, check.expected));
    }
    let failed: Vec<&Check> = checks.iter().filter(|c| c.status == Status::Fail).collect();
    let names: Vec<&str> = failed.iter().map(|c| c.name.as_str()).collect();
    let mut said =
        json!({ "command": "monitor", "checks": checks.len(), "failed": names, "webhook": "none" });
    if failed.is_empty() {
        return (said, Outcome::Done);
    }
    let told = match monitor::tell(&config.monitor, &failed, None) {
        Ok(true) => "sent",
        Ok(false) => "none",
        Err(untold) => {
            tell(&format!("warning: {}", error::chain(&untold)));
            "failed"
        }
    };
    if let Some(webhook) = said.get_mut("webhook") {
        *webhook = json!(told);
    }
    (said, Outcome::Failed)
}
