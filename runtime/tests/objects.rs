//! Checkpoints on object stores: the contract of the storage on each of them, and unclear answers resolved by reading.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use object_store::path::Path;
use thalweg_core::ErrorKind;
use thalweg_core::time::Clock;
use thalweg_objects::testing::{Emulator, Fault, Store};
use thalweg_runtime::checkpoint::storage::{Created, create_resolved};
use thalweg_runtime::{CheckpointStorage, ObjectStorage, SystemClock};

fn open(emulator: &Emulator) -> ObjectStorage {
    ObjectStorage::open(&emulator.place("checkpoints"), &emulator.access()).unwrap()
}

fn wait_until(limit: Duration, done: impl Fn() -> bool) {
    let clock = SystemClock::default();
    while !done() {
        assert!(clock.monotonic() < limit, "what is waited for has not come within {limit:?}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn keeps_the_contract(storage: &dyn CheckpointStorage) {
    let place = storage.describe();
    assert!(storage.list("").unwrap().is_empty(), "{place}: the probe has left nothing");
    assert_eq!(storage.read("m-1").unwrap(), None);
    assert!(matches!(storage.create("m-1", b"one"), Created::Yes), "{place}");
    assert!(matches!(storage.create("m-1", b"two"), Created::Exists), "{place}");
    assert_eq!(storage.read("m-1").unwrap().as_deref(), Some(&b"one"[..]), "{place}");
    let large = vec![7; 3 << 20];
    assert!(matches!(storage.create("state/s-1", &large), Created::Yes), "{place}");
    assert_eq!(storage.read("state/s-1").unwrap(), Some(large), "{place}");
    assert!(matches!(storage.create("m-2", b""), Created::Yes), "{place}");
    storage.sync("m-2").unwrap();
    let names = |folder: &str| {
        let mut names = storage.list(folder).unwrap();
        names.sort();
        names
    };
    assert_eq!((names(""), names("state")), (vec!["m-1".into(), "m-2".into()], vec!["s-1".into()]));
    for _ in 0..2 {
        storage.delete("m-1").unwrap();
        assert_eq!((storage.read("m-1").unwrap(), names("")), (None, vec!["m-2".to_owned()]));
    }
    // A name that is free again can be taken: why garbage collection looks at its parent first (P7).
    assert!(matches!(storage.create("m-1", b"two"), Created::Yes), "{place}");
}

#[test]
fn every_store_keeps_the_contract() {
    Emulator::on_each(&Store::ALL, |emulator| keeps_the_contract(&open(emulator)));
    let memory = Arc::new(InMemory::new());
    let storage = ObjectStorage::over(memory, Path::from("a/b"), "memory".to_owned()).unwrap();
    keeps_the_contract(&storage);
}

#[test]
fn thousands_of_objects_are_listed_to_the_last() {
    let Some(s3) = Emulator::s3() else { return };
    let storage = open(&s3);
    // More than one page of a listing.
    for n in 0..1_100 {
        assert!(matches!(storage.create(&format!("m-{n:04}"), b"x"), Created::Yes));
    }
    assert_eq!(storage.list("").unwrap().len(), 1_100);
}

#[test]
fn what_a_broken_request_did_is_found_by_reading() {
    let faults = [
        // Done, and the client's own second try meets what the first one stored.
        &[Fault::LoseAnswer][..],
        &[Fault::FailAfter],
        &[Fault::FailAfter, Fault::LoseAnswer, Fault::Answer(503)],
        // Not done.
        &[Fault::Answer(500), Fault::Answer(503)],
        // A conflict with nothing stored, as S3 answers while another write is under way.
        &[Fault::Answer(409)],
        &[Fault::Answer(409), Fault::FailAfter],
    ];
    Emulator::on_each(&Store::SERVICES, |emulator| {
        let storage = open(emulator);
        for (i, faults) in faults.into_iter().enumerate() {
            let name = format!("m-{i}");
            for fault in faults {
                emulator.proxy().next("PUT", &name, *fault);
            }
            create_resolved(&storage, &name, b"ours").unwrap();
            assert_eq!(storage.read(&name).unwrap().as_deref(), Some(&b"ours"[..]), "{faults:?}");
            let other = create_resolved(&storage, &name, b"theirs").unwrap_err();
            assert_eq!(other.kind(), ErrorKind::Fenced, "{faults:?}");
        }
        assert_eq!(emulator.proxy().met(), 10, "every fault was met");
    });
}

#[test]
fn a_request_that_hangs_is_given_up_read_and_sent_again() {
    Emulator::on_each(&Store::SERVICES, |emulator| {
        let (place, proxy) = (emulator.place("checkpoints"), emulator.proxy());
        let access = emulator.access().request_timeout(Duration::from_secs(3));
        let storage = ObjectStorage::open_read_only(&place, &access).unwrap();
        proxy.next("PUT", "m-hang", Fault::Hang);
        create_resolved(&storage, "m-hang", b"ours").unwrap();

        // Done long after we have given up: it finds our second try there.
        proxy.next("PUT", "m-late", Fault::Late);
        create_resolved(&storage, "m-late", b"ours").unwrap();
        proxy.release();
        wait_until(Duration::from_mins(1), || proxy.late() > 0);
        for name in ["m-hang", "m-late"] {
            assert_eq!(storage.read(name).unwrap().as_deref(), Some(&b"ours"[..]));
        }

        // It never works: the attempt ends with an error that says so, and may be tried again.
        for _ in 0..40 {
            proxy.next("PUT", "m-never", Fault::Answer(503));
        }
        let access = access.retry_for(Duration::from_millis(500));
        let storage = ObjectStorage::open_read_only(&place, &access).unwrap();
        let error = create_resolved(&storage, "m-never", b"ours").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(error.to_string().ends_with("the store answered 503"), "{error}");
    });
}

#[test]
fn it_may_be_called_from_any_thread_and_dropped_anywhere() {
    let memory = Arc::new(InMemory::new());
    let open = || ObjectStorage::over(Arc::clone(&memory) as _, Path::default(), "m".to_owned());
    let single = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let several = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    for (name, runtime) in [("single", single), ("several", several)] {
        let storage = open().unwrap();
        runtime.block_on(async move {
            create_resolved(&storage, name, b"x").unwrap();
            assert_eq!(storage.read(name).unwrap().as_deref(), Some(&b"x"[..]));
            drop(storage);
        });
    }
    assert_eq!(open().unwrap().list("").unwrap().len(), 2);
}
