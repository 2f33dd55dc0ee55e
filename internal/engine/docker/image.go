package docker

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

// Present tells whether the engine has an image.
func (s *site) Present(ctx context.Context, image string) (bool, error) {
	_, err := s.cl.ImageInspect(ctx, image)
	if errdefs.IsNotFound(err) || errdefs.IsInvalidArgument(err) {
		return false, nil
	}
	return err == nil, fault(err, "image "+image+" cannot be looked up")
}

// Pull fetches an image with a credential.
func (s *site) Pull(ctx context.Context, image string, with engine.Credential) error {
	anonymous := with == (engine.Credential{})
	opts := client.ImagePullOptions{}
	if !anonymous {
		auth, err := authconfig.Encode(registry.AuthConfig{Username: with.Username, Password: with.Password, RegistryToken: with.Token, ServerAddress: server(image)})
		if err != nil {
			return problem.New(problem.Internal, "the registry's credential cannot be encoded")
		}
		opts.RegistryAuth = auth
	}
	stream, err := s.cl.ImagePull(ctx, image, opts)
	if err != nil {
		return pullFault(err, image, anonymous)
	}
	defer stream.Close()
	if err := stream.Wait(ctx); err != nil {
		return pullFault(err, image, anonymous)
	}
	return nil
}

// server gives the registry of an image's name.
func server(image string) string {
	first, _, found := strings.Cut(image, "/")
	if found && (strings.ContainsAny(first, ".:") || first == "localhost") {
		return first
	}
	return "docker.io"
}

// sidecarImage gives the image of the sidecar, which is made if it is not there.
func (s *site) sidecarImage(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.image != "" {
		if there, err := s.Present(ctx, s.image); there || err != nil {
			return s.image, err
		}
	}
	f, err := os.Open(s.sidecar.Binary)
	if err != nil {
		return "", problem.Wrap(problem.Internal, "the sidecar's program cannot be read", err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", problem.Wrap(problem.Internal, "the sidecar's program cannot be read", err)
	}
	name := sidecarName + ":" + hex.EncodeToString(sum.Sum(nil)[:8])
	there, err := s.Present(ctx, name)
	if err == nil && !there {
		err = s.makeImage(ctx, name, f)
	}
	if err == nil {
		s.image = name
	}
	return name, err
}

// makeImage makes an image of one program.
func (s *site) makeImage(ctx context.Context, name string, program *os.File) error {
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeProgram(w, program)) }()
	defer r.Close()
	res, err := s.cl.ImageImport(ctx, client.ImageImportSource{Source: r, SourceName: "-"}, name,
		client.ImageImportOptions{Changes: []string{`ENTRYPOINT ["/latchkey"]`}})
	if err != nil {
		return fault(err, "the sidecar's image cannot be made")
	}
	defer res.Close()
	_, err = io.Copy(io.Discard, res)
	return fault(err, "the sidecar's image cannot be made")
}

func writeProgram(w io.Writer, program *os.File) error {
	info, err := program.Stat()
	if err != nil {
		return err
	}
	if _, err := program.Seek(0, io.SeekStart); err != nil {
		return err
	}
	t := tar.NewWriter(w)
	if err := t.WriteHeader(&tar.Header{Name: "latchkey", Mode: 0o755, Size: info.Size(), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	if _, err := io.Copy(t, program); err != nil {
		return err
	}
	return t.Close()
}
