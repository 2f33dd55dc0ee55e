package decide_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/scale/decide"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// line is a revision that decides at every interval.
type line struct {
	*decide.State
	now time.Time
}

func begin(l decide.Limits, replicas int, ready bool) *line {
	return &line{decide.New(l, replicas, ready, start), start}
}

// run decides with the same votes for a time and gives the numbers without those
// that are the same as the one before.
func (l *line) run(d time.Duration, votes ...decide.Vote) []int {
	var seen []int
	for end := l.now.Add(d); l.now.Before(end); {
		l.now = l.now.Add(decide.Interval)
		if n := l.Decide(l.now, votes); len(seen) == 0 || seen[len(seen)-1] != n {
			seen = append(seen, n)
		}
	}
	return seen
}

func work(n int) decide.Vote { return decide.Vote{Replicas: n, Active: n > 0} }

func TestReplicasFollowTheRules(t *testing.T) {
	zero := decide.Limits{Max: 10, Cooldown: 300 * time.Second}
	unread := decide.Vote{Unread: true}
	tests := map[string]struct {
		limits   decide.Limits
		replicas int
		votes    []decide.Vote
		want     []int
		why      decide.Why
	}{
		"no work and no replica":                        {zero, 0, nil, []int{0}, decide.Zero},
		"no rule at all ends at zero":                   {zero, 1, nil, []int{1, 0}, decide.Zero},
		"the minimum stays":                             {decide.Limits{Min: 2, Max: 10}, 2, []decide.Vote{work(0)}, []int{2}, decide.AtMin},
		"up in steps":                                   {decide.Limits{Max: 100}, 0, []decide.Vote{work(50)}, []int{1, 4, 8, 16, 32, 50}, decide.Asked},
		"up in steps from the minimum":                  {decide.Limits{Min: 5, Max: 100}, 5, []decide.Vote{work(20)}, []int{8, 16, 20}, decide.Asked},
		"the maximum holds":                             {zero, 0, []decide.Vote{work(50)}, []int{1, 4, 8, 10}, decide.AtMax},
		"the largest vote counts":                       {zero, 1, []decide.Vote{work(2), work(3), work(0)}, []int{3}, decide.Asked},
		"down when the window has passed":               {zero, 8, []decide.Vote{work(2)}, []int{8, 2}, decide.Asked},
		"down to zero when the cooldown has passed":     {zero, 8, []decide.Vote{work(0)}, []int{8, 0}, decide.Zero},
		"a short cooldown does not wait for the window": {decide.Limits{Max: 10, Cooldown: 30 * time.Second}, 8, []decide.Vote{work(0)}, []int{8, 0}, decide.Zero},
		"a long cooldown does":                          {decide.Limits{Max: 10, Cooldown: time.Hour}, 8, []decide.Vote{work(0)}, []int{8, 1}, decide.Idle},
		"what measures replicas keeps one":              {decide.Limits{Max: 10, NeverZero: true}, 8, []decide.Vote{{Replicas: 1}}, []int{8, 1}, decide.LastOne},
		"what cannot be read keeps all":                 {zero, 8, []decide.Vote{unread}, []int{8}, decide.Held},
		"what cannot be read keeps zero":                {zero, 0, []decide.Vote{unread}, []int{0}, decide.Held},
		"others may make more meanwhile":                {zero, 2, []decide.Vote{unread, work(6)}, []int{4, 6}, decide.Held},
		"others cannot make less meanwhile":             {zero, 8, []decide.Vote{unread, work(2)}, []int{8}, decide.Held},
		"more than the maximum comes down at once":      {zero, 50, []decide.Vote{work(3)}, []int{10, 3}, decide.Asked},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := begin(tt.limits, tt.replicas, true)
			if diff := cmp.Diff(tt.want, l.run(20*time.Minute, tt.votes...)); diff != "" || l.Why() != tt.why {
				t.Errorf("(-want +got)\n%s%q", diff, l.Why())
			}
		})
	}
}

func TestANewRevisionHasOneReplicaUntilItsCooldownAfterItWasReady(t *testing.T) {
	l := begin(decide.Limits{Max: 10, Cooldown: 300 * time.Second}, 0, false)
	if got := l.run(time.Hour); !cmp.Equal(got, []int{1}) || l.Why() != decide.Starting {
		t.Error(got, l.Why())
	}
	l.Ready(l.now)
	if got := l.run(285 * time.Second); !cmp.Equal(got, []int{1}) {
		t.Error(got)
	}
	if got := l.run(decide.Interval); !cmp.Equal(got, []int{0}) {
		t.Error(got)
	}
	if got := begin(decide.Limits{Min: 3, Max: 10}, 0, false).Replicas(); got != 3 {
		t.Error(got)
	}
}

func TestAWaitingRequestMakesAReplicaAtOnce(t *testing.T) {
	l := begin(decide.Limits{Max: 10, Cooldown: 60 * time.Second}, 0, true)
	if !l.Wake(l.now) || l.Replicas() != 1 || l.Why() != decide.Woken || l.Wake(l.now) {
		t.Error(l.Replicas(), l.Why())
	}
	if got := l.run(45 * time.Second); !cmp.Equal(got, []int{1}) {
		t.Error(got)
	}
	l.Wake(l.now) // the cooldown starts anew
	if got := l.run(time.Hour); !cmp.Equal(got, []int{1, 0}) || l.now.Sub(l.Active()) < 60*time.Second {
		t.Error(got)
	}
	if l = begin(decide.Limits{Max: 10}, 4, true); l.Wake(l.now) || l.Replicas() != 4 {
		t.Error(l.Replicas())
	}
}

func TestALoadThatComesAndGoesDoesNotMoveReplicas(t *testing.T) {
	l := begin(decide.Limits{Max: 10, Cooldown: 300 * time.Second}, 1, true)
	l.run(time.Minute, work(8))
	for range 20 {
		if got := append(l.run(200*time.Second, work(1)), l.run(15*time.Second, work(8))...); !cmp.Equal(got, []int{8, 8}) {
			t.Fatal(got)
		}
	}
}

func TestVotesOfRules(t *testing.T) {
	tests := map[string]struct {
		got  decide.Vote
		want decide.Vote
	}{
		"nothing to do":                        {decide.Total(0, 5, 0), decide.Vote{}},
		"one message":                          {decide.Total(1, 5, 0), decide.Vote{Replicas: 1, Active: true}},
		"just full":                            {decide.Total(30, 10, 0), decide.Vote{Replicas: 3, Active: true}},
		"one more":                             {decide.Total(31, 10, 0), decide.Vote{Replicas: 4, Active: true}},
		"not worth a start":                    {decide.Total(50, 10, 50), decide.Vote{Replicas: 5}},
		"very many":                            {decide.Total(1e300, 1, 0), decide.Vote{Replicas: 1 << 20, Active: true}},
		"nobody was measured":                  {decide.Each(nil, 0.5, 3), decide.Vote{Unread: true}},
		"as wanted":                            {decide.Each([]float64{0.5, 0.5}, 0.5, 2), decide.Vote{Replicas: 2}},
		"near enough":                          {decide.Each([]float64{0.54}, 0.5, 1), decide.Vote{Replicas: 1}},
		"twice as much":                        {decide.Each([]float64{1, 1}, 0.5, 2), decide.Vote{Replicas: 4}},
		"a little":                             {decide.Each([]float64{0.1, 0.1, 0.1, 0.1}, 0.5, 4), decide.Vote{Replicas: 1}},
		"nothing":                              {decide.Each([]float64{0, 0}, 0.5, 2), decide.Vote{}},
		"a new one has not taken its share":    {decide.Each([]float64{1}, 0.5, 2), decide.Vote{Replicas: 2}},
		"a new one may need all of its target": {decide.Each([]float64{0.25}, 0.5, 2), decide.Vote{Replicas: 2}},
	}
	for name, tt := range tests {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

// TestWhateverHappensTheLimitsHold makes random lives of revisions.
func TestWhateverHappensTheLimitsHold(t *testing.T) {
	for seed := range uint64(600) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		limits := decide.Limits{Min: rnd.IntN(4), Max: 4 + rnd.IntN(40), Cooldown: time.Duration(rnd.IntN(600)) * time.Second, NeverZero: rnd.IntN(4) == 0}
		ready := rnd.IntN(2) == 0
		s, now := decide.New(limits, rnd.IntN(60), ready, start), start
		busy, unreadSince := start, false // when there was reason for a replica last
		for step := range 120 {
			before := s.Replicas()
			now = now.Add(time.Duration(1+rnd.IntN(30)) * time.Second)
			switch rnd.IntN(12) {
			case 0:
				s.Wake(now)
				busy = now
			case 1:
				if !ready {
					ready, busy = true, now
				}
				s.Ready(now)
			default:
				votes := []decide.Vote{work(rnd.IntN(3) * rnd.IntN(50)), {Unread: rnd.IntN(20) == 0}}
				s.Decide(now, votes)
				unreadSince = votes[1].Unread
				if votes[0].Active || unreadSince && before > 0 || !ready {
					busy = now
				}
				if unreadSince && s.Replicas() < before {
					t.Fatalf("seed %d step %d: fewer replicas (%d, then %d) although a rule could not be read", seed, step, before, s.Replicas())
				}
			}
			n := s.Replicas()
			switch {
			case n < limits.Min || n > limits.Max || n == 0 && (limits.NeverZero || !ready):
				t.Fatalf("seed %d step %d: %d replicas with %+v", seed, step, n, limits)
			case n == 0 && before > 0 && now.Sub(busy) < limits.Cooldown:
				t.Fatalf("seed %d step %d: zero %s after work, with %+v", seed, step, now.Sub(busy), limits)
			case n > max(4, 2*before, limits.Min):
				t.Fatalf("seed %d step %d: from %d to %d at once", seed, step, before, n)
			}
		}
		quiet(t, seed, s, now, limits, work(rnd.IntN(30)))
	}
}

// quiet sees that a vote that does not change moves replicas in one direction, or
// up and then never again.
func quiet(t *testing.T, seed uint64, s *decide.State, now time.Time, limits decide.Limits, v decide.Vote) {
	t.Helper()
	turns, last, direction := 0, s.Replicas(), 0
	for range 200 {
		now = now.Add(decide.Interval)
		n := s.Decide(now, []decide.Vote{v})
		if d := sign(n - last); d != 0 && d != direction {
			turns, direction = turns+1, d
		}
		last = n
	}
	if turns > 1 {
		t.Fatalf("seed %d: %d turns with a vote of %+v and %+v", seed, turns, v, limits)
	}
}

func sign(n int) int {
	switch {
	case n > 0:
		return 1
	case n < 0:
		return -1
	}
	return 0
}
