package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// receive does the work of Receive. The file is removed by Close.
func (d *Deployment) receive(ctx context.Context, zip io.Reader) (err error) {
	r, rel := d.r, &d.release.Value
	if d.spool.file != nil {
		return problem.New(problem.Conflict, "the package was received already")
	}
	if d.spool, err = r.spool(rel.App); err != nil {
		return err
	}
	hash := sha256.New()
	if rel.Size, err = d.spool.fill(zip, r.cfg.Limits.Zip, hash); err != nil {
		return err
	}
	d.sha = hex.EncodeToString(hash.Sum(nil))
	d.log(fmt.Sprintf("Package of %d bytes received.", rel.Size))
	rel.Status = Building
	return d.save(ctx)
}

func (d *Deployment) discardSpool() {
	if d.spool.file != nil {
		_ = d.spool.file.Close() // it goes away
		d.r.discard(d.spool.file.Name())
	}
}

// build does the work of Build; what it leaves behind on an error is removed by
// its caller and by Collect.
func (d *Deployment) build(ctx context.Context) error {
	r, rel := d.r, &d.release.Value
	if d.sha == "" {
		return problem.New(problem.Conflict, "no package was received")
	}
	u, err := r.unpack(ctx, d.spool, rel.Size)
	if err != nil {
		return err
	}
	defer r.discard(u.dir)
	rel.Files, rel.Unpacked = len(u.files), u.total
	d.log(fmt.Sprintf("Package checked: %d files of %d bytes.", rel.Files, rel.Unpacked))
	if err := d.inspect(ctx, u.dir); err != nil {
		return err
	}
	if err := d.keep(ctx); err != nil {
		return err
	}
	if err := r.place(ctx, u, r.folderPath(rel.App, rel.ID)); err != nil { // Folder makes it anew
		r.cfg.Log.Warn("an unpacked package could not be put into place", "app", rel.App, "release", rel.ID, "reason", err)
	}
	return nil
}

// place puts the folder of a new release where it belongs, unless somebody has
// asked for it in the meantime and it is there.
func (r *Releases) place(ctx context.Context, u unpacked, dir string) error {
	done, err := r.claim(ctx, dir)
	if err != nil {
		return err
	}
	defer done()
	if r.isInPlace(dir) {
		return nil
	}
	if err := install(u, dir); err != nil {
		return err
	}
	r.setVerified(dir)
	return nil
}

// inspect reads the functions.
func (d *Deployment) inspect(ctx context.Context, dir string) error {
	rel := &d.release.Value
	functions, faults, err := d.r.cfg.Inspect(ctx, dir)
	if err != nil {
		return err
	}
	rel.Functions, rel.Faults = functions, faults[:min(len(faults), maxFaults)]
	for _, fault := range rel.Faults {
		rel.Log = append(rel.Log, Entry{Time: d.r.cfg.Clock.Now().UTC(), Text: clip(fault), Error: true})
	}
	d.log(fmt.Sprintf("%d functions found.", len(functions)))
	return nil
}

// keep puts the package into the state and makes the release Ready. The reference
// comes first, so that nobody removes a chunk; the release last, together with
// the package's being complete.
func (d *Deployment) keep(ctx context.Context) error {
	rel, who := &d.release.Value, ref(d.release.Value.App, d.release.Value.ID)
	packs, sha := d.r.packages(), d.sha
	rel.SHA256 = sha
	m, err := packs.hold(ctx, sha, rel.Size, who)
	if err != nil {
		return err
	}
	if !m.Value.Complete {
		if _, err := d.spool.file.Seek(0, io.SeekStart); err != nil {
			return errCache(err)
		}
		if err := packs.put(ctx, sha, d.spool.file); err != nil {
			return err
		}
	}
	rel.Status, rel.Finished = Ready, d.r.cfg.Clock.Now().UTC()
	d.log("Package stored.")
	for range completions {
		var done state.Op
		if done, err = packs.complete(ctx, sha, who); err != nil {
			return err
		}
		if err = d.save(ctx, done); !errors.Is(err, state.ErrConflict) {
			return err
		}
	}
	return err
}

const (
	maxFaults   = 100
	completions = 10 // other apps may be given the same package at the same time
)
