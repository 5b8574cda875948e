//! What is so, for people and for tests: never an input of a decision.

use super::sensor::Holder;
use super::{Arbiter, Phase, Role};
use crate::engine::{Electors, Intent, LeaderSeen, Token};
use crate::message::{Effects, State};
use crate::names::{ContainerName, Fence, Registration, SensorRef};
use crate::policy::Because;
use crate::time::Time;

/// A sensor, as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SensorView {
    /// Its reference.
    pub sensor: SensorRef,
    /// Who paused it, if anybody did.
    pub paused: Option<Intent>,
    /// Where it is ACTIVE.
    pub active: Option<InstanceView>,
    /// Where it failed, and has not been well since.
    pub failed: Vec<ContainerName>,
    /// How its effects go out, and why; not known of what nobody offers.
    pub effects: Option<(Effects, Because)>,
}

/// The active instance of a sensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InstanceView {
    /// Its container.
    pub container: ContainerName,
    /// Under which fence.
    pub fence: Fence,
    /// As far as the leader knows.
    pub state: State,
}

/// A registered container, as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerView {
    /// Its name.
    pub name: ContainerName,
    /// Its registration.
    pub registration: Registration,
    /// It has bound itself, and its stream is open.
    pub up: bool,
    /// It is drained, or hands over by itself.
    pub draining: bool,
    /// Who drained it, if anybody did.
    pub drained: Option<Intent>,
    /// How many sensors are ACTIVE there.
    pub active: usize,
}

/// How a leadership stands with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreSeen {
    /// It answers.
    There,
    /// It does not; the leadership ends unless it is extended.
    Away,
    /// It does not, and every other elector has extended the leadership (rule 11).
    Extended,
}

impl Arbiter {
    /// The sensors that the leader knows; none on a standby.
    pub fn sensors(&self) -> Vec<SensorView> {
        let Role::Leader(leadership) = &self.role else { return Vec::new() };
        let view = |(sensor, state): (&SensorRef, &super::Sensor)| SensorView {
            sensor: sensor.clone(),
            paused: leadership.paused.get(sensor).cloned(),
            active: match &state.holder {
                Holder::Held(held) => Some(InstanceView {
                    container: held.by.clone(),
                    fence: held.fence,
                    state: match (&held.revoked, &held.unapplied) {
                        (Some(_), _) => State::Draining,
                        (None, Some(_)) => State::Starting,
                        (None, None) => State::Running,
                    },
                }),
                Holder::Unknown | Holder::Free | Holder::Preparing(_) => None,
            },
            failed: state.failed.keys().cloned().collect(),
            effects: {
                let mut offers = leadership.register.values().filter_map(|member| member.offers.get(sensor));
                offers.next().map(|offer| self.config.policy.of(sensor).chosen(offer))
            },
        };
        leadership.sensors.iter().map(view).collect()
    }

    /// The sensors that are paused and the containers that are drained, also where they are not here.
    pub fn intents(&self) -> (Vec<(SensorRef, Intent)>, Vec<ContainerName>) {
        let Role::Leader(leadership) = &self.role else { return (Vec::new(), Vec::new()) };
        let paused = leadership.paused.iter().map(|(sensor, intent)| (sensor.clone(), intent.clone()));
        (paused.collect(), leadership.drained.keys().cloned().collect())
    }

    /// Where a sensor is ACTIVE, as far as the leader knows.
    pub fn active(&self, sensor: &SensorRef) -> Option<(ContainerName, Fence)> {
        let Role::Leader(leadership) = &self.role else { return None };
        match &leadership.sensors.get(sensor)?.holder {
            Holder::Held(held) => Some((held.by.clone(), held.fence)),
            Holder::Unknown | Holder::Free | Holder::Preparing(_) => None,
        }
    }

    /// Whether this arbitrator leads, and in which phase; whether its leadership is in force is for
    /// [`Arbiter::leads`] to say.
    pub fn phase(&self) -> Option<&Phase> {
        let Role::Leader(leadership) = &self.role else { return None };
        Some(&leadership.phase)
    }

    /// The leadership in force at `now`: whoever writes names it.
    pub fn leadership(&self, now: Time) -> Option<&Token> {
        let Role::Leader(leadership) = &self.role else { return None };
        self.leads(now).map(|_| &leadership.token)
    }

    /// The electors as the leader knows them, and how its leadership stands with the store.
    pub fn electors(&self) -> Option<(&Electors, StoreSeen)> {
        let Role::Leader(leadership) = &self.role else { return None };
        let store = match (leadership.store_away, leadership.extended) {
            (false, _) => StoreSeen::There,
            (true, false) => StoreSeen::Away,
            (true, true) => StoreSeen::Extended,
        };
        Some((&leadership.electors.0, store))
    }

    /// Whether it may campaign, as far as it knows: not where nobody leads, and the store's list of electors leaves it out.
    pub fn is_elector(&self) -> bool {
        match &self.role {
            Role::Follower(follower) => !follower.outside,
            Role::Leader(_) => true,
        }
    }

    /// Until when it campaigns for nothing, since it has just started: it may have given its word before that (rule 11).
    pub fn keeps_still(&self) -> Option<Time> {
        match &self.role {
            Role::Follower(follower) => Some(follower.not_before),
            Role::Leader(_) => None,
        }
    }

    /// Who leads, as last seen.
    pub fn leader_seen(&self) -> Option<&LeaderSeen> {
        self.seen.as_ref()
    }

    /// The register as the leader knows it; empty on a standby.
    pub fn containers(&self) -> Vec<ContainerView> {
        let Role::Leader(leadership) = &self.role else { return Vec::new() };
        let view = |(name, member): (&ContainerName, &super::Member)| ContainerView {
            name: name.clone(),
            registration: member.entry.registration,
            up: member.live.is_some(),
            draining: member.draining || leadership.drained.contains_key(name),
            drained: leadership.drained.get(name).cloned(),
            active: leadership.held_by(name).len(),
        };
        leadership.register.iter().map(view).collect()
    }
}
