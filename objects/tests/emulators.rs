//! Every store that is served answers the probe; one that lacks conditional put is refused, one that never answers is given up.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt, PutMode, PutOptions};
use thalweg_core::{ErrorKind, Result};
use thalweg_objects::testing::{Emulator, Fault, Store};
use thalweg_objects::{Access, Place, Remote, probe, reason};

async fn probed(place: &Remote, access: &Access) -> Result<()> {
    probe(place.open(access)?.as_ref(), &place.prefix(), &place.to_string()).await
}

/// Runs `test` on each of these stores, side by side.
fn on_each(stores: &[Store], test: impl AsyncFn(&Emulator) + Sync) {
    Emulator::on_each(stores, move |emulator| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(emulator));
    });
}

#[test]
fn s3_azure_adls_and_gcs_create_only_what_is_absent() {
    on_each(&Store::ALL, async |emulator| {
        let place = emulator.place("probe");
        probed(&place, &emulator.access()).await.unwrap();
        let store = place.open(&emulator.access()).unwrap();
        let left: Vec<_> = store.list(Some(&place.prefix())).try_collect().await.unwrap();
        assert!(left.is_empty(), "the probe leaves nothing behind in {place}: {left:?}");
    });
}

#[test]
fn a_store_that_ignores_the_condition_is_refused_with_one_line() {
    // By a SAS: a request that the account's key has signed cannot be changed on its way.
    on_each(&[Store::S3, Store::Adls, Store::Gcs], async |emulator| {
        emulator.proxy().ignore_conditions(true);
        let error = probed(&emulator.place("lax"), &emulator.access()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("only if it is absent"), "{error}");
        assert!(!error.to_string().contains('\n'));
    });
}

#[test]
fn a_probe_whose_answer_is_lost_still_passes_and_a_missing_bucket_is_said() {
    on_each(&Store::SERVICES, async |emulator| {
        emulator.proxy().next("PUT", "/probe/", Fault::LoseAnswer);
        emulator.proxy().next("PUT", "/probe/", Fault::FailAfter);
        let place = emulator.place("lost");
        // S3 and Azure are given a list of what to delete.
        let (method, part) = match place.url().scheme() {
            "s3" => ("POST", "?delete"),
            "az" => ("POST", "comp=batch"),
            _ => ("DELETE", "/probe/"),
        };
        emulator.proxy().next(method, part, Fault::LoseAnswer);
        probed(&place, &emulator.access()).await.unwrap();
        assert_eq!(emulator.proxy().met(), 3);

        let elsewhere = format!("{}://no-such-bucket/prefix", place.url().scheme());
        let Place::Remote(elsewhere) = elsewhere.parse().unwrap() else { unreachable!() };
        let error = probed(&elsewhere, &emulator.access()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("no such object, bucket"), "{error}");
    });
}

#[tokio::test]
async fn a_sas_that_every_url_carries_is_in_no_error() {
    let Some(adls) = Emulator::start(Store::Adls) else { return };
    for (method, part, what) in [
        ("PUT", "/probe/", "cannot create"),
        ("GET", "/probe/", "cannot read"),
        ("GET", "comp=list", "cannot list"),
        ("POST", "comp=batch", "cannot delete"),
    ] {
        adls.proxy().next(method, part, Fault::Answer(403));
        let error = probed(&adls.place("denied"), &adls.access()).await.unwrap_err();
        let told = thalweg_core::error::chain(&error);
        assert!(told.starts_with(what) && told.contains("access is denied"), "{told}");
        assert!(!told.contains("sig="), "{told}");
    }
}

#[test]
fn a_request_without_an_answer_ends_in_time() {
    on_each(&Store::SERVICES, async |emulator| {
        let place = emulator.place("hang");
        let access = emulator.access().request_timeout(Duration::from_secs(1));
        let store = place.open(&access).unwrap();
        emulator.proxy().next("PUT", "/object", Fault::Hang);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let name: Path = place.prefix().join("object");
        let put = store.put_opts(&name, "bytes".into(), options);
        let error = tokio::time::timeout(Duration::from_mins(2), put).await.unwrap().unwrap_err();
        assert_eq!(reason(&error), "no answer in time");
        // Whoever looks now is in no hurry.
        let store = place.open(&emulator.access()).unwrap();
        assert!(matches!(store.head(&name).await, Err(StoreError::NotFound { .. })));
        emulator.proxy().release();
    });
}

#[tokio::test]
async fn what_cannot_be_reached_is_said_without_a_url() {
    let refused = [
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "secret"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    let variables = refused.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let access = Access::new(variables).retry_for(Duration::ZERO);
    assert!(!format!("{access:?}").contains("secret"));
    let place = "s3://bucket/prefix".parse().unwrap();
    let Place::Remote(place) = place else { unreachable!() };
    let error = probed(&place, &access).await.unwrap_err();
    assert!(error.kind().is_retryable());
    assert_eq!(
        thalweg_core::error::chain(&error),
        "cannot create an object in s3://bucket/prefix: no connection to the store: check the endpoint"
    );
}

#[tokio::test]
async fn a_store_that_takes_requests_and_never_answers_is_given_up_in_time() {
    // The system takes connections, and nobody reads what is sent.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let variables = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "secret"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let (timeout, retries) = (Duration::from_millis(200), Duration::from_millis(300));
    let access = Access::new(variables).request_timeout(timeout).retry_for(retries);
    let place = "s3://bucket/prefix".parse().unwrap();
    let Place::Remote(place) = place else { unreachable!() };
    let store = place.open(&access).unwrap();
    let name: Path = place.prefix().join("_delta_log").join("00000000000000000001.json");
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let patience = Duration::from_mins(1);
    let put = tokio::time::timeout(patience, store.put_opts(&name, "bytes".into(), options));
    assert_eq!(reason(&put.await.unwrap().unwrap_err()), "no answer in time");
    // Whoever reads what became of it is given up as well.
    let head = tokio::time::timeout(patience, store.head(&name));
    assert_eq!(reason(&head.await.unwrap().unwrap_err()), "no answer in time");
}
