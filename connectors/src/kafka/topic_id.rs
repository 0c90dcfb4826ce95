//! The id that a topic got when it was created, which tells it from one created later under the same name.
//!
//! librdkafka knows it, its safe wrapper does not show it: this file and `leader_epoch` call librdkafka itself.
#![expect(unsafe_code, reason = "the safe wrapper has no way to describe a topic")]

use std::ffi::{CString, c_int};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::RDKafkaRespErr;

/// How much later than at its own limit librdkafka may answer.
const SLACK_MS: c_int = 1_000;

/// Asks `broker` for the id of `topic`; `None` where topics have none (before Apache Kafka 2.8). Blocking.
///
/// # Errors
/// What the broker or librdkafka says, [`Code::OperationTimedOut`] after `patience`.
pub(super) fn topic_id<C: ClientContext>(
    client: &Client<C>,
    broker: i32,
    topic: &str,
    patience: Duration,
) -> Result<Option<String>, Code> {
    let name = CString::new(topic).map_err(|_| Code::InvalidTopic)?;
    let mut names = [name.as_ptr()];
    let millis = c_int::try_from(patience.as_millis()).map_err(|_| Code::InvalidArgument)?;
    let rk = client.native_ptr();
    // SAFETY: `rk` is a live client for as long as `client` is borrowed. Each pointer that librdkafka hands over is
    // paired with the function that its documentation names for freeing it. `names` points to one string, which outlives
    // the call that copies it.
    let (queue, topics, options) = unsafe {
        (
            Owned::new(native::rd_kafka_queue_new(rk), native::rd_kafka_queue_destroy)?,
            Owned::new(
                native::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
                native::rd_kafka_TopicCollection_destroy,
            )?,
            Owned::new(
                native::rd_kafka_AdminOptions_new(
                    rk,
                    native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
                ),
                native::rd_kafka_AdminOptions_destroy,
            )?,
        )
    };
    // SAFETY: the options live, and no text of an error is asked for.
    unsafe {
        let (options, text) = (options.as_ptr(), ptr::null_mut());
        check(native::rd_kafka_AdminOptions_set_request_timeout(options, millis, text, 0))?;
        check(native::rd_kafka_AdminOptions_set_broker(options, broker, text, 0))?;
    }
    // SAFETY: all four live. librdkafka copies topics and options, and keeps the queue until it has answered.
    unsafe {
        native::rd_kafka_DescribeTopics(rk, topics.as_ptr(), options.as_ptr(), queue.as_ptr());
    }
    // SAFETY: the queue lives, and an event is the caller's to destroy.
    let event = unsafe {
        let event = native::rd_kafka_queue_poll(queue.as_ptr(), millis.saturating_add(SLACK_MS));
        Owned::new(event, native::rd_kafka_event_destroy)
    };
    answer(&event.map_err(|_| Code::OperationTimedOut)?)
}

/// The id of the one topic that `event` describes.
fn answer(event: &Owned<native::rd_kafka_event_t>) -> Result<Option<String>, Code> {
    // SAFETY: everything that is asked of the event belongs to it and lives as long as it does. It has a list of topics
    // unless it has an error or is of another kind, and each is checked before the next is asked.
    unsafe {
        check(native::rd_kafka_event_error(event.as_ptr()))?;
        let described = native::rd_kafka_event_DescribeTopics_result(event.as_ptr());
        if described.is_null() {
            return Err(Code::Fail);
        }
        let mut count = 0;
        let topics = native::rd_kafka_DescribeTopics_result_topics(described, &raw mut count);
        if topics.is_null() || count != 1 || (*topics).is_null() {
            return Err(Code::UnknownTopicOrPartition);
        }
        let error = native::rd_kafka_TopicDescription_error(*topics);
        if !error.is_null() {
            return Err(native::rd_kafka_error_code(error).into());
        }
        let id = native::rd_kafka_TopicDescription_topic_id(*topics);
        if id.is_null() {
            return Ok(None);
        }
        let high = native::rd_kafka_Uuid_most_significant_bits(id);
        let low = native::rd_kafka_Uuid_least_significant_bits(id);
        Ok((high != 0 || low != 0).then(|| format!("{high:016x}{low:016x}")))
    }
}

fn check(code: RDKafkaRespErr) -> Result<(), Code> {
    match code {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(code.into()),
    }
}

/// What librdkafka made and wants back.
struct Owned<T> {
    pointer: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// # Safety
    /// `pointer` is null, or `free` may be called with it, once, and nobody else does.
    unsafe fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Result<Self, Code> {
        NonNull::new(pointer).map(|pointer| Self { pointer, free }).ok_or(Code::Fail)
    }

    fn as_ptr(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: promised to `new`.
        unsafe { (self.free)(self.pointer.as_ptr()) }
    }
}
