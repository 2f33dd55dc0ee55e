package release

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/state"
)

// Collect clears what interrupted work left: deployments of nodes that are gone
// become Failed, packages without a release are removed from the state, and
// folders without a release from the cache. Call it at start, and now and then on
// installations of several nodes. It disturbs no deployment in progress.
func (r *Releases) Collect(ctx context.Context) error {
	return errors.Join(r.collectTurns(ctx), r.collectPackages(ctx), r.collectFolders(ctx))
}

func (r *Releases) collectTurns(ctx context.Context) error {
	list, err := r.turns().List(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, item := range list {
		if r.alive(item.Name, item.Value) {
			continue
		}
		err := r.bury(ctx, item.Name, item.Value.ID)
		if err == nil {
			_, err = r.cfg.Store.Write(ctx, state.Delete(r.turns().Key(item.Name), item.Revision))
		}
		errs = append(errs, unlessConflict(err))
	}
	return errors.Join(errs...)
}

// collectPackages drops the references of releases that are gone or failed.
// Releases that are Pending or Building belong to a turn, see collectTurns.
func (r *Releases) collectPackages(ctx context.Context) error {
	list, err := r.packages().manifests().List(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, item := range list {
		if len(item.Value.Refs) == 0 {
			errs = append(errs, r.packages().erase(ctx, item.Name, item))
		}
		for _, who := range item.Value.Refs {
			app, id, _ := strings.Cut(who, "/")
			errs = append(errs, r.dropUnwanted(ctx, app, id, item.Name))
		}
	}
	return errors.Join(errs...)
}

// dropUnwanted asks the state, not memory: a write without an answer may have made
// the release Ready.
func (r *Releases) dropUnwanted(ctx context.Context, app, id, sha string) error {
	wanted, err := r.wanted(ctx, app, id, sha)
	if err != nil || wanted {
		return err
	}
	return r.packages().drop(ctx, sha, ref(app, id))
}

func (r *Releases) wanted(ctx context.Context, app, id, sha string) (bool, error) {
	item, err := r.collection(app).Get(ctx, id)
	switch {
	case errors.Is(err, state.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	return item.Value.Status == Pending || item.Value.Status == Building ||
		item.Value.Status == Ready && item.Value.SHA256 == sha, nil
}

func (r *Releases) collectFolders(ctx context.Context) error {
	apps, err := os.ReadDir(r.cfg.CacheDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, app := range apps {
		if app.IsDir() && checkApp(app.Name()) == nil {
			errs = append(errs, r.collectApp(ctx, app.Name()))
		}
	}
	return errors.Join(errs...)
}

func (r *Releases) collectApp(ctx context.Context, app string) error {
	dir := filepath.Join(r.cfg.CacheDir, app)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		id, place := strings.TrimSuffix(e.Name(), listingSuffix), filepath.Join(dir, e.Name())
		if r.isRunning(app, id) || r.isTemp(place) {
			continue
		}
		if releaseID.MatchString(id) {
			rel, err := r.collection(app).Get(ctx, id)
			if err == nil && rel.Value.Status == Ready {
				continue
			}
			if err != nil && !errors.Is(err, state.ErrNotFound) {
				errs = append(errs, err)
				continue
			}
		}
		errs = append(errs, os.RemoveAll(place))
	}
	return errors.Join(errs...)
}

// Prune removes an app's releases but the newest keep ones, those named in except
// (the active one, for example) and one that is being deployed.
func (r *Releases) Prune(ctx context.Context, app string, keep int, except ...string) error {
	list, err := r.List(ctx, app)
	if err != nil {
		return err
	}
	busy, err := r.Deploying(ctx, app)
	if err != nil {
		return err
	}
	var errs []error
	for i, rel := range list {
		if i >= keep && rel.ID != busy && !slices.Contains(except, rel.ID) {
			errs = append(errs, r.remove(ctx, rel))
		}
	}
	return errors.Join(errs...)
}

// DeleteAll removes everything of an app. A deployment in progress fails.
func (r *Releases) DeleteAll(ctx context.Context, app string) error {
	list, err := r.List(ctx, app)
	if err != nil {
		return err
	}
	_, err = r.cfg.Store.Write(ctx, state.Delete(r.turns().Key(strings.ToLower(app)), state.Any))
	errs := []error{err}
	for _, rel := range list {
		errs = append(errs, r.remove(ctx, rel))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(r.cfg.CacheDir, strings.ToLower(app)))
}

// Delete removes one release; problem.NotFound if there is none of that id. The
// caller makes sure that it is not the active one.
func (r *Releases) Delete(ctx context.Context, app, id string) error {
	rel, err := r.Get(ctx, app, id)
	if err != nil {
		return err
	}
	return r.remove(ctx, rel)
}

// remove takes the release away first: what is interrupted after that is garbage,
// which Collect finds.
func (r *Releases) remove(ctx context.Context, rel Release) error {
	gone := state.Delete(r.collection(rel.App).Key(rel.ID), state.Any)
	if _, err := r.cfg.Store.Write(ctx, gone); err != nil {
		return err
	}
	if rel.SHA256 != "" {
		if err := r.packages().drop(ctx, rel.SHA256, ref(rel.App, rel.ID)); err != nil {
			return err
		}
	}
	r.forget(rel.App, rel.ID)
	dir := r.folderPath(rel.App, rel.ID)
	return errors.Join(os.RemoveAll(dir+listingSuffix), os.RemoveAll(dir))
}
