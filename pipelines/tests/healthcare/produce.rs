//! The simulated hospital as service managers and containers run it.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Duration;

use thalweg_connectors::kafka::DemoBroker;

use crate::support::{Started, ended_within, healthcare, wait_until};

/// It ends at once; what takes longer on the busiest machine hangs.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn sigterm_ends_a_producer_in_good_order() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let broker = DemoBroker::start("events", 1).unwrap();
    let mut command = healthcare();
    command.args(["produce", "--topic", "events", "--bootstrap-servers"]);
    command.arg(broker.bootstrap_servers());
    command.stdout(Stdio::null()).stderr(File::create(&log).unwrap());
    let mut producer = Started::new(&mut command);
    let said = || fs::read_to_string(&log).unwrap();
    // It listens for signals before it tells that.
    wait_until(&mut producer, "a line about the last second", || {
        said().contains(" in the last second")
    });
    let told = Command::new("kill").args(["-TERM", &producer.id().to_string()]).status();
    assert!(told.unwrap().success());
    let ended = ended_within(&mut producer, PATIENCE);
    assert!(ended.is_some_and(|ended| ended.success()), "{ended:?}: {}", said());
    assert!(said().contains("events sent to topic events in "), "{}", said());
}
