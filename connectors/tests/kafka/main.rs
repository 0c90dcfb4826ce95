//! Kafka's source and sinks against a real Apache Kafka; sinks are read by a consumer that knows nothing of them. One broker
//! for all tests that need none of their own.
#![cfg(all(feature = "kafka", feature = "test-util"))]

#[cfg(test)]
mod at_least_once;
#[cfg(test)]
mod brokers;
#[cfg(test)]
mod epochs;
#[cfg(test)]
mod exactly_once;
#[cfg(test)]
mod hanging;
#[cfg(test)]
mod job;
#[cfg(test)]
#[path = "../kafka_support/mod.rs"]
mod kafka_support;
#[cfg(test)]
mod late_end;
#[cfg(test)]
mod markers;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod source;
#[cfg(test)]
mod timeouts;
#[cfg(test)]
mod times;
