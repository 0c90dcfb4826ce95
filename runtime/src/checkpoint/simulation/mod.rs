//! Seeded simulation of the checkpoint protocol.
//!
//! Several processes run the real recovery, manifests, state files, garbage collection and finishing, driven by core's
//! pure coordinator (its actor and the subtasks are played), on a store and on tables that misbehave. Only one thread runs at a time, and the seed says which, at every touch of the
//! outside world; there processes are killed, frozen and woken up, and others with another parallelism take over. An
//! auditor looks at every commit and every published cut, and at everything in the end.
//! `crate::simulation` is the wider one: whole jobs in virtual time, with coarser steps.

mod audit;
mod baton;
mod process;
mod stores;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use arrow_schema::SchemaRef;
use serde_json::Value;
use thalweg_core::connector::sink::{Committer, Sink, SinkWriter, Target, WriterContext};
use thalweg_core::connector::source::{Source, SourceReader, Split};
use thalweg_core::crypto::MasterKey;
use thalweg_core::graph::{JobGraph, StreamEnvironment};
use thalweg_core::operator::{OpenContext, Operator, OperatorFactory};
use thalweg_core::testing::simulation::{Outcome, assert_exact, assert_noticed, assert_repeated};
use thalweg_core::{Error, Result};

use baton::{Baton, DIRECTOR};
use process::{End, Program, live};
use stores::{Hand, SimCommitter};
use world::{Counters, Mutation, PARTITIONS, World};

/// Steps with faults; afterwards the job must come to its end.
const STEPS: u64 = 1_200;
/// Steps after which it should long have ended.
const PATIENCE: u64 = 60_000;

#[derive(thalweg_core::Record)]
#[expect(dead_code, reason = "only its columns are used")]
struct Message {
    partition: i64,
}

/// A part of the graph that is never run: the subtasks are played.
#[derive(Debug, Clone)]
struct Played(&'static str);

fn never<T>() -> Result<T> {
    Err(Error::internal("a simulated part does not run by itself"))
}

impl Source for Played {
    fn describe(&self) -> String {
        self.0.to_owned()
    }
    fn schema(&self) -> SchemaRef {
        <Message as thalweg_core::record::Record>::schema()
    }
    fn is_bounded(&self) -> bool {
        true
    }
    fn identity(&self) -> Result<BTreeMap<String, String>> {
        Ok(BTreeMap::new())
    }
    fn start_splits(&self) -> Result<Vec<Split>> {
        let split =
            |p| Split { id: format!("p{p}"), position: 0, end: None, properties: BTreeMap::new() };
        Ok((0..PARTITIONS).map(split).collect())
    }
    fn verify(&self, _: &BTreeMap<String, String>, _: &[Split]) -> Result<()> {
        Ok(())
    }
    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        never()
    }
}

impl OperatorFactory for Played {
    fn describe(&self) -> String {
        self.0.to_owned()
    }
    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        Ok(Arc::clone(input))
    }
    fn create(&self, _: OpenContext) -> Result<Box<dyn Operator>> {
        never()
    }
}

impl Sink for Played {
    fn describe(&self) -> String {
        self.0.to_owned()
    }
    fn target(&self, _: &SchemaRef) -> Result<Target> {
        Ok(Target { kind: "sim".into(), path: self.0.into(), definition: Value::Null })
    }
    fn rank(&self) -> u8 {
        u8::from(self.0 == "counts")
    }
    fn writer(&self, _: WriterContext) -> Result<Box<dyn SinkWriter>> {
        never()
    }
    fn committer(&self) -> Arc<dyn Committer> {
        let hand = Hand {
            world: Arc::new(World::new(0, Mutation::None)),
            baton: Arc::new(Baton::new(0)),
            me: DIRECTOR,
        };
        Arc::new(SimCommitter { hand, recovering: Arc::default() })
    }
}

fn graph() -> JobGraph {
    let env = StreamEnvironment::new("simulated").max_parallelism(PARTITIONS);
    let messages = env.shared_source::<Message>("events", Arc::new(Played("events")));
    messages.sink("raw", Played("raw"));
    messages.transform::<Message>("count", Played("count")).sink("counts", Played("counts"));
    env.build().unwrap()
}

fn play(seed: u64, mutation: Mutation) -> Outcome<Counters> {
    let world = Arc::new(World::new(seed, mutation));
    let baton = Arc::new(Baton::new(seed));
    let program =
        Program { graph: Arc::new(graph()), key: Arc::new(MasterKey::generate().unwrap()) };
    let ends: Mutex<Vec<End>> = Mutex::default();
    std::thread::scope(|scope| {
        let mut last = 0;
        let mut closed = false;
        loop {
            // This is the director's turn: nobody else runs.
            if !closed {
                world.grow();
            }
            if !closed && baton.steps() > STEPS {
                closed = true;
                world.close();
                baton.calm();
            }
            let finished = ends.lock().unwrap().contains(&End::Finished);
            if closed && (finished || baton.steps() > PATIENCE) && baton.open() == 0 {
                break;
            }
            let wanted = if closed { usize::from(!finished) } else { 2 };
            let start = baton.living() < wanted
                && baton.steps() <= PATIENCE
                && (baton.living() == 0 || world.choose(20) == 0);
            if start {
                let parallelism = world.choose(3) as u32 + 1;
                if last != 0 && last != parallelism {
                    world.count(|c| c.rescales += 1);
                }
                last = parallelism;
                let me = baton.join();
                let hand = Hand { world: Arc::clone(&world), baton: Arc::clone(&baton), me };
                let (program, ends) = (program.clone(), &ends);
                scope.spawn(move || {
                    let lived = AssertUnwindSafe(|| {
                        if hand.baton.enter(me) {
                            live(&program, &hand, parallelism)
                        } else {
                            End::Killed
                        }
                    });
                    let end = catch_unwind(lived)
                        .unwrap_or_else(|_| End::Failed("it panicked".to_owned()));
                    if end == End::Fenced {
                        hand.world.count(|c| c.fenced += 1);
                    }
                    ends.lock().unwrap().push(end);
                    hand.baton.leave(me);
                });
            }
            baton.pass(DIRECTOR);
        }
    });
    for end in ends.into_inner().unwrap() {
        if let End::Failed(why) = end {
            world.violation(format!("a process failed: {why}"));
        }
    }
    audit::end(&world);
    let (trace, kills, freezes) = baton.story();
    world.count(|c| (c.kills, c.freezes) = (kills, freezes));
    Outcome { violations: world.violations(), counters: world.counters(), trace }
}

#[test]
fn every_seed_is_exact() {
    assert_exact("-p thalweg-runtime --lib every_seed_is_exact", 10, |seed| {
        play(seed, Mutation::None)
    });
}

#[test]
fn a_seed_takes_the_same_steps_again() {
    assert_repeated(|seed| play(seed, Mutation::None));
}

/// Each of these makes the protocol wrong, and some seed among the first hundred must notice.
fn is_noticed(mutation: Mutation) {
    assert_noticed(0..100, mutation, play);
}

#[test]
fn a_recovery_that_does_not_replay_commits_is_noticed() {
    is_noticed(Mutation::NoReplay);
}

#[test]
fn a_commit_before_its_manifest_is_noticed() {
    is_noticed(Mutation::CommitFirst);
}

#[test]
fn a_missing_fence_is_noticed() {
    is_noticed(Mutation::NoFence);
}
