//! Kafka in Docker, as far as that can be told without its engine: a script takes the place of `docker`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::super::kafka_jars::WRITE;
use super::super::{KafkaServer, wait_until};
use super::*;

const PATIENCE: Duration = Duration::from_mins(1);
const SESSION: Duration = Duration::from_mins(2);

/// Writes down how it is called. Its containers are processes that outlive their clients, as Docker's are; the number of
/// one is in a file of its name. With the file `slow` one is made only after a signal was refused, as one is that still is
/// being made; with the file `ends` one ends at once.
const DOCKER: &str = r#"#!/bin/sh
home=$(dirname "$0")
printf '%s\n' "$*" >>"$home/calls"
case $1 in
  image) test -e "$home/image" ;;
  pull) touch "$home/image" ;;
  kill)
    if [ ! -e "$home/$4" ]; then
      touch "$home/refused"
      exit 1
    fi
    touch "$home/took-$3"
    kill "-$3" "$(cat "$home/$4")"
    ;;
  run)
    case $* in *kafka.tools.StorageTool*) exit 0 ;; esac
    if [ -e "$home/ends" ]; then
      echo 'there is no room for it'
      exit 3
    fi
    if [ -e "$home/slow" ]; then
      until [ -e "$home/refused" ]; do sleep 1; done
    fi
    sleep 600 &
    echo "$!" >"$home/making"
    mv "$home/making" "$home/$4"
    wait "$!"
    status=$?
    rm "$home/$4"
    exit "$status"
    ;;
esac
"#;

/// A folder with everything: the stand-in, the cache and a server's folder.
struct Docker(tempfile::TempDir);

impl Docker {
    fn new() -> Self {
        let docker = Self(tempfile::tempdir().unwrap());
        fs::create_dir(docker.file("cache")).unwrap();
        fs::create_dir(docker.home()).unwrap();
        let program = docker.home().join("docker");
        let written =
            Command::new("sh").args(["-c", WRITE, "sh"]).arg(program).arg(DOCKER).status();
        assert!(written.unwrap().success());
        docker
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn home(&self) -> PathBuf {
        self.file("bin")
    }

    fn has(&self, name: &str) -> bool {
        self.home().join(name).exists()
    }

    fn tell(&self, name: &str) {
        fs::write(self.home().join(name), "").unwrap();
    }

    fn jars(&self) -> Jars {
        let mut path = OsString::from(self.home());
        path.push(":");
        path.push(env::var_os("PATH").unwrap());
        Jars::in_docker(self.file("cache"), Some(path)).unwrap()
    }

    fn node(&self, jars: &Jars) -> Node {
        let ports = NodePorts::reserve(&jars.cache, None).unwrap();
        let voters = Node::voter(0, &ports);
        let dir = self.file("server").join("node-0");
        Node::set_up(0, 1, &voters, dir, jars, ports, SESSION).unwrap()
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.home().join("calls")).unwrap();
        calls.lines().map(str::to_owned).collect()
    }

    /// The containers that run, by name.
    fn containers(&self) -> Vec<String> {
        let files = fs::read_dir(self.home()).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("thalweg-java-")).collect()
    }

    fn wait_for_container(&self) -> String {
        wait_until("a container", PATIENCE, || Ok(!self.containers().is_empty())).unwrap();
        self.containers().remove(0)
    }
}

fn id(which: &str) -> String {
    let output = Command::new("id").arg(which).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What a keeper sees when its test process is gone; waits until it has cleaned up.
fn die(node: &mut Node) {
    let mut keeper = node.keeper.take().unwrap();
    drop(keeper.stdin.take());
    keeper.wait().unwrap();
}

#[test]
fn a_node_runs_in_a_container_of_kafkas_image_and_goes_with_the_test_process() {
    let docker = Docker::new();
    let jars = docker.jars();
    let image = docker.calls();
    let [inspected, pulled] = image.as_slice() else { panic!("{image:?}") };
    let image = pulled.strip_prefix("pull ").unwrap();
    assert!(image.starts_with("apache/kafka:4."), "{image}");
    assert_eq!(*inspected, format!("image inspect {image}"));
    // It is there now.
    docker.jars();
    assert_eq!(docker.calls().len(), 3);

    let mut node = docker.node(&jars);
    let settings = fs::read_to_string(node.file("server.properties")).unwrap();
    let advertised = format!("advertised.listeners=PLAINTEXT://{}", node.address());
    for line in [
        advertised.as_str(),
        "offsets.topic.replication.factor=1",
        "transaction.state.log.replication.factor=1",
        "transaction.state.log.min.isr=1",
    ] {
        assert!(settings.lines().any(|found| found == line), "{line}: {settings}");
    }
    node.spawn().unwrap();
    let container = docker.wait_for_container();
    let calls = docker.calls();
    let [.., format, broker] = calls.as_slice() else { panic!("{calls:?}") };
    let tmp = env::temp_dir();
    let options = format!(
        "--network host --user {}:{} -v {tmp}:{tmp} --entrypoint java {image} ",
        id("-u"),
        id("-g"),
        tmp = tmp.display()
    );
    let java: Vec<_> =
        node.jvm_arguments().into_iter().map(|word| word.into_string().unwrap()).collect();
    let (java, properties) = (java.join(" "), node.file("server.properties"));
    assert!(java.ends_with(" -cp /opt/kafka/libs/*"), "{java}");
    let properties = properties.display();
    assert_eq!(
        *broker,
        format!("run --rm --name {container} {options}{java} kafka.Kafka {properties}")
    );
    assert!(format.starts_with("run --rm --name thalweg-java-"), "{format}");
    let formats =
        format!(" {options}{java} kafka.tools.StorageTool format -t {CLUSTER_ID} -c {properties}");
    assert!(format.ends_with(&formats), "{format}");

    node.order("term");
    node.wait_stopped(PATIENCE).unwrap();
    assert!(docker.has("took-TERM") && docker.containers().is_empty());
    assert!(node.dir.exists(), "it keeps its data while it is stopped");

    node.spawn().unwrap();
    docker.wait_for_container();
    die(&mut node);
    assert!(docker.has("took-KILL") && docker.containers().is_empty());
    assert!(!docker.file("server").exists());
}

#[test]
fn a_container_that_is_still_being_made_does_not_outlive_the_test_process() {
    let docker = Docker::new();
    docker.tell("slow");
    let mut node = docker.node(&docker.jars());
    node.spawn().unwrap();
    die(&mut node);
    assert!(docker.has("refused"), "it came before the container");
    assert!(docker.has("took-KILL") && docker.containers().is_empty());
    assert!(!docker.file("server").exists());
}

#[test]
fn a_container_that_ends_is_not_waited_for_and_what_it_said_is_told() {
    let docker = Docker::new();
    docker.tell("ends");
    let told =
        KafkaServer::start_on(&docker.jars(), 1, None, SESSION, &[]).unwrap_err().to_string();
    assert!(told.contains("there is no room for it"), "{told}");
    assert!(docker.containers().is_empty());
}
