package engine

import (
	"context"
	"time"
)

// Usage is what one running container of a replica has used.
type Usage struct {
	Replica   string
	Container string
	CPU       time.Duration // of all cores since the container started
	Memory    int64         // bytes in use now, without what only caches files
}

// Meter is an engine that can tell what containers use.
type Meter interface {
	// Usage gives the running main containers of a revision, those left out that
	// ended meanwhile. problem.NotFound if it is not placed, problem.Unsupported
	// where this machine cannot tell.
	Usage(ctx context.Context, revision Ref) ([]Usage, error)
}
