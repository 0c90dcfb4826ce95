//! Who has connected and not come in. When no place is left, one of them goes whose address has more of them than its
//! share: who connects and says nothing keeps nobody out, and many who come at once from one address are all let in as
//! long as there are places.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use tokio::task::AbortHandle;

/// Of all connections one in so many is an address's share.
const SHARE: usize = 4;

/// Connections that have not come in, the oldest first.
#[derive(Debug)]
pub(super) struct Outside {
    share: usize,
    /// Where each comes from, for as long as it is outside, and what serves it.
    waiting: Vec<(Weak<IpAddr>, AbortHandle)>,
}

impl Outside {
    /// Of so many connections.
    pub(super) fn new(most: usize) -> Self {
        Self { share: most / SHARE, waiting: Vec::new() }
    }

    /// Adds a connection, which is outside until it has let go of `network`.
    pub(super) fn add(&mut self, network: &Arc<IpAddr>, connection: AbortHandle) {
        self.waiting.retain(|(network, _)| network.strong_count() > 0);
        self.waiting.push((Arc::downgrade(network), connection));
    }

    /// Ends the oldest connection of the address that has most, if those are more than its share. Whether it did: then its
    /// place is free as soon as its task is gone.
    pub(super) fn make_room(&mut self) -> bool {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for network in self.waiting.iter().filter_map(|(network, _)| network.upgrade()) {
            *counts.entry(*network).or_default() += 1;
        }
        let crowded = counts.into_iter().max_by_key(|(_, count)| *count);
        let Some((crowd, _)) = crowded.filter(|(_, count)| *count > self.share) else {
            return false;
        };
        let is_of = |network: &Weak<IpAddr>| network.upgrade().is_some_and(|one| *one == crowd);
        let Some(oldest) = self.waiting.iter().position(|(network, _)| is_of(network)) else {
            return false;
        };
        self.waiting.remove(oldest).1.abort();
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinHandle;

    use super::*;

    /// A connection that says nothing.
    fn connect(outside: &mut Outside, from: [u8; 4]) -> (Arc<IpAddr>, JoinHandle<()>) {
        let network = Arc::new(IpAddr::from(from));
        let task = tokio::spawn(std::future::pending());
        outside.add(&network, task.abort_handle());
        (network, task)
    }

    async fn is_ended(connection: (Arc<IpAddr>, JoinHandle<()>)) -> bool {
        connection.1.await.is_err_and(|ended| ended.is_cancelled())
    }

    #[test]
    fn the_oldest_goes_whose_address_has_most_and_nobody_within_a_share() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut outside = Outside::new(8);
            let few = [connect(&mut outside, [10, 0, 0, 1]), connect(&mut outside, [10, 0, 0, 1])];
            let [came_in, first, second, third, fourth] =
                [(); 5].map(|()| connect(&mut outside, [10, 0, 0, 2]));
            // It has let go of its address, and its task goes on.
            let (network, inside) = came_in;
            drop(network);
            assert!(outside.make_room() && is_ended(first).await);
            assert!(outside.make_room() && is_ended(second).await);
            // Two of eight are within the share of each.
            assert!(!outside.make_room());
            for (_, task) in few.iter().chain([&third, &fourth]) {
                assert!(!task.is_finished());
            }
            assert!(!inside.is_finished());
        });
    }
}
