// Package imagebuild owns building the image of a folder with the container engine
// of this machine, Docker or podman. It does not know who runs the image.
package imagebuild

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/moby/moby/client"

	"github.com/latchkey/latchkey/internal/engine/reach"
	"github.com/latchkey/latchkey/internal/problem"
)

// Config says what to build.
type Config struct {
	Folder     string
	Dockerfile string // a path in the folder
	Name       string // of the image, without a tag
	Host       string // of the engine; "": DOCKER_HOST, else the usual sockets
	Getenv     func(string) string
	Progress   io.Writer // gets what the build says
}

// Build builds an image and gives its name with a tag that is made from its
// contents: the same contents have the same name. problem.Unavailable says that no
// engine answers, problem.Invalid what is wrong with the Dockerfile.
func Build(ctx context.Context, cfg Config) (string, error) {
	cl, _, err := reach.Connect(ctx, cfg.Host, cfg.Getenv)
	if err != nil {
		return "", problem.Wrap(problem.Unavailable, "the image cannot be built", err).
			WithNext("start Docker or podman, or name its socket in DOCKER_HOST; or write a container.json for the process engine, which isolates nothing")
	}
	defer cl.Close()
	latest := cfg.Name + ":latest"
	if err := build(ctx, cl, cfg, latest); err != nil {
		return "", err
	}
	made, err := cl.ImageInspect(ctx, latest)
	if err != nil {
		return "", problem.Wrap(problem.Unavailable, "the image that was built cannot be found", err)
	}
	const digits = 12
	id := strings.TrimPrefix(made.ID, "sha256:")
	name := cfg.Name + ":" + id[:min(len(id), digits)]
	if _, err := cl.ImageTag(ctx, client.ImageTagOptions{Source: made.ID, Target: name}); err != nil {
		return "", problem.Wrap(problem.Unavailable, "the image cannot be given its name", err)
	}
	return name, nil
}

func build(ctx context.Context, cl *client.Client, cfg Config, tag string) error {
	folder, err := pack(ctx, cfg.Folder, cfg.Dockerfile)
	if err != nil {
		return err
	}
	defer folder.Close()
	resp, err := cl.ImageBuild(ctx, folder, client.ImageBuildOptions{Tags: []string{tag}, Dockerfile: cfg.Dockerfile, Remove: true, ForceRemove: true})
	if err != nil {
		return problem.Wrap(problem.Invalid, "the image cannot be built", err)
	}
	defer resp.Body.Close()
	return follow(ctx, resp.Body, cfg.Progress)
}

// follow reads what a build says until its end.
func follow(ctx context.Context, r io.Reader, to io.Writer) error {
	for d := json.NewDecoder(r); ; {
		var m struct {
			Stream string `json:"stream"`
			Status string `json:"status"`
			ID     string `json:"id"`
			Error  string `json:"error"`
		}
		err := d.Decode(&m)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return problem.Wrap(problem.Unavailable, "the build broke off", err)
		case m.Error != "":
			return problem.New(problem.Invalid, "the image cannot be built: "+strings.TrimSpace(m.Error)).WithNext("see the output above; nothing was deployed")
		case m.Stream != "":
			fmt.Fprint(to, m.Stream)
		case m.Status != "" && m.ID == "": // layers of a pull are too many lines
			fmt.Fprintln(to, m.Status)
		}
	}
}
