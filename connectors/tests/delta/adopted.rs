//! A table that is there already may be told of by its statistics what a new one would not be.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use thalweg_core::connector::sink::{Committer, Sink, TargetExpectation};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::{APP, Lake, marked_schema, schema};

/// The warnings of one thread.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Whoever adopts it keeps a marked column out of the log; whoever rewrites its files would not.
#[tokio::test(flavor = "multi_thread")]
async fn who_adopts_a_table_whose_statistics_tell_too_much_is_told_the_statement_once() {
    let warnings = Warnings::default();
    let _all = tracing::subscriber::set_default(warnings.clone());
    let told = || {
        let lines = warnings.0.lock().unwrap();
        lines.iter().filter(|line| line.contains("TBLPROPERTIES")).cloned().collect::<Vec<_>>()
    };
    let lake = Lake::new().await;
    lake.append(1, 0..10).await.unwrap();
    let open = async |lake: &Lake, app: &str, marked: bool| {
        let schema = if marked { marked_schema() } else { schema() };
        let target = lake.sink().target(&schema).unwrap();
        lake.committer.open(&target, app, &TargetExpectation::default(), true).await.unwrap();
    };
    open(&lake, APP, false).await;
    assert!(told().is_empty(), "nothing is marked");

    for _ in 0..2 {
        open(&lake, "other/chain/0/silver", true).await;
    }
    let lines = told();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let set = "SET TBLPROPERTIES ('delta.dataSkippingStatsColumns' = '`id`,`at`,`day`')";
    assert!(lines[0].contains(set) && lines[0].contains("silver/events"), "{lines:?}");
    // Another process tells it anew, until the statement was run.
    open(&lake.restarted(), "other/chain/0/silver", true).await;
    assert_eq!(told().len(), 2);
    lake.foreign_change(3, |metadata, _| {
        metadata["configuration"]["delta.dataSkippingStatsColumns"] = "id,at,day".into();
    });
    open(&lake.restarted(), "other/chain/0/silver", true).await;
    assert_eq!(told().len(), 2);
}
