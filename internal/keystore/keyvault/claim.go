package keyvault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	lease     = 120 * time.Second // how long a claim counts, by the vault's times
	holdFor   = 90 * time.Second  // how long its holder writes, by its own
	renewFor  = 15 * time.Second  // after this, a claim is renewed before use
	claimWait = 150 * time.Second // for others' claims
	abandoned = 24 * time.Hour    // after this, a writer's secret is swept away
	sweepMost = 4                 // of those, at a time

	firstPause = 20 * time.Millisecond
	lastPause  = time.Second
)

// claim is this process's word that it is about to write. Who has the store's turn
// uses it alone.
type claim struct {
	store   *Store
	id      string
	version string // of the writer's secret; "" if there is none yet
	up      bool
	updated int64     // when the vault noted it last
	at      time.Time // likewise, by our clock, before the request
}

func (c *claim) name() string { return ownPart + separator + writerPart + separator + c.id }

// raise claims the right to write and gives the list that shows no other claim. It
// returns ErrConflict if others do not make way.
func (c *claim) raise(ctx context.Context, doc keystore.Doc) (inventory, error) {
	began := c.store.cfg.Clock.Now()
	for try := 0; ; try++ {
		if !c.up || c.store.cfg.Clock.Now().Sub(c.at) > renewFor {
			if err := c.note(ctx, string(doc)); err != nil {
				return inventory{}, err
			}
		}
		inv, err := c.store.lists.get(ctx)
		if err != nil {
			return inv, err
		}
		other, first := c.others(inv)
		if other == "" {
			c.sweep(ctx, inv)
			return inv, nil
		}
		if c.store.cfg.Clock.Now().Sub(began) > claimWait {
			return inv, problem.New(keystore.ErrConflict, fmt.Sprintf("%s is being written by others, such as %s, all the time", c.store, other))
		}
		if err := c.giveWay(ctx, first, try); err != nil {
			return inv, err
		}
	}
}

// giveWay waits a little, without the claim if another one goes first.
func (c *claim) giveWay(ctx context.Context, first bool, try int) error {
	if first {
		if err := c.note(ctx, idle); err != nil {
			return err
		}
	}
	for ; ; try++ {
		if err := c.store.pause(ctx, try); err != nil {
			return err
		}
		if !first {
			return nil
		}
		inv, err := c.store.lists.get(ctx)
		if err != nil {
			return err
		}
		if _, first = c.others(inv); !first || c.store.cfg.Clock.Now().Sub(c.at) > claimWait {
			return nil
		}
	}
}

// pause waits longer and longer, and never as long as others who wait.
func (s *Store) pause(ctx context.Context, try int) error {
	most := min(firstPause<<min(try, 10), lastPause)
	if clock.Sleep(ctx, s.cfg.Clock, rand.N(most)+most/8) != nil {
		return keystore.Alive(ctx)
	}
	return nil
}

// others names a writer that has a claim, and says whether one of them goes before
// us.
func (c *claim) others(inv inventory) (other string, first bool) {
	for _, p := range inv.writers {
		if at := p.tags[claimTag]; at == "" || at == idle || strings.EqualFold(p.name, c.name()) || c.now()-p.updated > int64(lease/time.Second) {
			continue
		}
		other = p.name
		first = first || strings.ToLower(p.name) < c.name()
	}
	return other, first
}

// now is the vault's time, by its own word and what has gone by since.
func (c *claim) now() int64 {
	return c.updated + int64(c.store.cfg.Clock.Now().Sub(c.at)/time.Second)
}

// note says on the writer's secret what it is at. If a failure leaves open what it
// says, it counts as raised, for lower to see to.
func (c *claim) note(ctx context.Context, what string) error {
	tags := map[string]string{claimTag: what}
	if app := c.store.cfg.App; app != "" {
		tags[appTag] = app
	}
	began := c.store.cfg.Clock.Now()
	c.up = true
	updated, err := c.write(ctx, tags)
	if err != nil {
		return err
	}
	c.up, c.updated, c.at = what != idle, updated, began
	return nil
}

func (c *claim) write(ctx context.Context, tags map[string]string) (int64, error) {
	if c.version != "" {
		updated, err := c.store.conn.label(ctx, c.name(), c.version, tags)
		if !errors.Is(err, errGone) && !errors.Is(err, errDeleted) && !errors.Is(err, errDeleting) {
			return updated, err
		}
		c.id, c.version = newID(), "" // it was swept away
	}
	value := "This secret shows when the program that made it changes access keys. It can be deleted."
	got, err := c.store.conn.set(ctx, c.name(), azsecrets.SetSecretParameters{Value: &value, Tags: pointers(tags)})
	if err == nil {
		c.version = got.version
	}
	return got.updated, err
}

// lower gives the claim back, also if the caller has given up.
func (c *claim) lower(ctx context.Context) {
	if !c.up || c.version == "" {
		return
	}
	ctx, end := c.store.within(context.WithoutCancel(ctx), renewFor)
	defer end()
	if err := c.note(ctx, idle); err != nil {
		c.store.cfg.Log.Warn("others who change keys in the vault have to wait up to two minutes",
			slog.String("store", c.store.String()), slog.String("error", err.Error()))
	}
}

// held gives a context for requests under the claim, which end before it does.
func (c *claim) held(ctx context.Context) (context.Context, context.CancelFunc) {
	return c.store.within(context.WithoutCancel(ctx), holdFor-c.store.cfg.Clock.Now().Sub(c.at))
}

// within gives a context that ends after d on the store's clock.
func (s *Store) within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	timer := s.cfg.Clock.NewTimer(d)
	go func() {
		defer timer.Stop()
		select {
		case <-timer.C():
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// sweep deletes secrets of writers that are long gone, as far as that is allowed.
func (c *claim) sweep(ctx context.Context, inv inventory) {
	done := 0
	for _, p := range inv.writers {
		if done == sweepMost {
			return
		}
		if strings.EqualFold(p.name, c.name()) || c.now()-p.updated < int64(abandoned/time.Second) {
			continue
		}
		if err := c.store.conn.remove(ctx, p.name); err != nil {
			c.store.cfg.Log.Debug("the secret of a writer that is gone stays", slog.String("error", err.Error()))
			return
		}
		done++
	}
}
