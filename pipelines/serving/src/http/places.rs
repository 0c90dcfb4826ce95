//! Places for streams: there is an end to all of them, and to those of one visitor.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;

/// So many streams one visitor may have open: whoever opened more could keep everybody else out.
const EACH: usize = 32;

/// The places and who has them.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    /// How many, by visitor.
    taken: Mutex<HashMap<String, usize>>,
}

/// A place of a visitor. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    name: String,
}

impl Places {
    /// So many places, all of them free.
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: Mutex::default() }
    }

    /// A place for the visitor of this name, or the answer to whom there is none for.
    pub(super) fn take(self: &Arc<Self>, name: &str) -> Result<Place, (StatusCode, &'static str)> {
        let mut taken = self.taken();
        if taken.values().sum::<usize>() >= self.most {
            return Err((StatusCode::SERVICE_UNAVAILABLE, "too many dashboards are open\n"));
        }
        let own = taken.entry(name.to_owned()).or_default();
        if *own >= EACH {
            let text = "you have too many dashboards open: close some\n";
            return Err((StatusCode::TOO_MANY_REQUESTS, text));
        }
        *own += 1;
        Ok(Place { places: Arc::clone(self), name: name.to_owned() })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        let Some(own) = taken.get_mut(&self.name) else { return };
        *own -= 1;
        if *own == 0 {
            taken.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_visitor_leaves_places_for_others_and_all_are_given_back() {
        let places = Arc::new(Places::new(EACH + 1));
        let mut own: Vec<_> = (0..EACH).map(|_| places.take("ada").unwrap()).collect();
        assert_eq!(places.take("ada").unwrap_err().0, StatusCode::TOO_MANY_REQUESTS);
        let other = places.take("eve").unwrap();
        assert_eq!(places.take("bob").unwrap_err().0, StatusCode::SERVICE_UNAVAILABLE);
        own.pop();
        let again = places.take("ada").unwrap();
        drop((own, other, again));
        assert!(places.taken().is_empty());
    }
}
