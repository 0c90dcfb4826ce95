//! The Kafka sinks against a real Apache Kafka, read by a consumer that knows nothing of them. One broker for all tests.
#![cfg(all(feature = "kafka", feature = "test-util"))]

#[cfg(test)]
mod at_least_once;
#[cfg(test)]
mod brokers;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod exactly_once;
#[cfg(test)]
mod job;
#[cfg(test)]
mod late_end;
#[cfg(test)]
mod markers;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod timeouts;
#[cfg(test)]
mod times;
